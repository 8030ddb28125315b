"""OpenFaaS' certifier against the control plane alone, as far as it invokes nothing; CERTIFIER names the binary."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from regrain_watchdog.gateway.credentials import Credentials

CERTIFIER = shutil.which(os.environ.get("CERTIFIER", ""))
FAAS_CLI = shutil.which(os.environ.get("FAAS_CLI", ""))
TESTS = ["Test_Deploy_MetaData", "Test_ListNamespaces", "Test_ProviderInfo"]


@pytest.mark.process
@pytest.mark.skipif(CERTIFIER is None, reason="CERTIFIER does not name the certifier's test binary")
@pytest.mark.skipif(FAAS_CLI is None, reason="FAAS_CLI does not name the faas-cli binary, which logs in")
def test_the_certifier_finds_nothing_wrong(start, free_ports: list[int], tmp_path: Path) -> None:
    control = start(address=f"127.0.0.1:{free_ports[0]}")
    control.request("POST", "/system/namespace/", {"name": "certifier"})
    url = f"http://{control.address}"
    environment = {
        **os.environ,
        "OPENFAAS_CONFIG": str(tmp_path / "config"),
        "CERTIFIER_DEFAULT_NAMESPACE": "openfaas-fn",
        "CERTIFIER_NAMESPACES": "certifier",
    }
    password = Credentials.load(control.settings.folder).password
    login = [str(FAAS_CLI), "login", "-g", url, "-p", password]
    flags = ["-gateway", url, "-enableAuth", "-enableScaling=false", "-registryPrefix", "docker.io"]
    subprocess.run(login, env=environment, timeout=30, check=True, capture_output=True)

    done = subprocess.run(
        [str(CERTIFIER), "-test.v", "-test.run", "|".join(TESTS), *flags],
        env=environment,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"--- PASS: {name} " in done.stdout for name in TESTS)
