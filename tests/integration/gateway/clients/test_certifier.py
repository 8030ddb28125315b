"""OpenFaaS' certifier against a fresh gateway: all of its tests but the idler, which waits for minutes.

CERTIFIER names the binary: `go test -c ./tests` in https://github.com/openfaas/certifier, MIT.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

CERTIFIER = shutil.which(os.environ.get("CERTIFIER", ""))
PATIENCE = 600
TESTS = 11


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.skipif(CERTIFIER is None, reason="CERTIFIER does not name the certifier's test binary")
def test_the_certifier_finds_nothing_wrong(gateway, faas) -> None:
    gateway.ask("POST", "/system/namespace/", json={"name": "certifier"})
    environment = {
        **faas.environment,
        "CERTIFIER_DEFAULT_NAMESPACE": "openfaas-fn",
        "CERTIFIER_NAMESPACES": "certifier",
    }
    flags = ["-gateway", gateway.url, "-enableAuth", "-enableScaling", "-secretUpdate"]

    done = subprocess.run(
        [str(CERTIFIER), "-test.v", *flags, "-registryPrefix", "docker.io"],
        env=environment,
        timeout=PATIENCE,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"^--- PASS: (\w+) ", done.stdout, re.MULTILINE)
    assert len(passed) >= TESTS, done.stdout
