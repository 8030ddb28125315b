"""The image that the template's Dockerfile makes, built and run as a platform would run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE = os.environ.get(
    "CONTAINER_BASE", f"docker.io/library/python:{sys.version_info.major}.{sys.version_info.minor}-slim"
)
LONG = 900.0

pytestmark = [
    pytest.mark.container,
    pytest.mark.timeout(LONG),
    pytest.mark.skipif(not shutil.which("podman"), reason="there is no podman"),
]


def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=LONG, check=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The template's own function, with Regrain from this clone and what it needs from wheels beside it."""
    context = tmp_path_factory.mktemp("context")
    shutil.copytree(
        ROOT / "template" / "regrain",
        context,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    wheels = context / "function" / "wheels"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(pip, check=True, timeout=LONG, cwd=context)
    (context / "function" / "requirements.txt").write_text("--no-index\n--find-links wheels\nregrain\n")
    name = f"localhost/regrain-template-{uuid.uuid4().hex[:8]}"
    trusted = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.exists() else []
    base = podman("image", "exists", BASE)
    if base.returncode and (pulled := podman("pull", "--quiet", BASE)).returncode:
        pytest.skip(f"there is no image {BASE}: {pulled.stderr.strip().splitlines()[-1]}")

    done = podman(
        "build", "--layers=false", "--build-arg", f"BASE={BASE}", *trusted, "--tag", name, str(context)
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    yield name
    podman("image", "rm", "--force", name)


@pytest.fixture
def container(image: str, free_ports: list[int]) -> Iterator[tuple[str, int]]:
    """A container with a read-only root, no capabilities and no way to more privileges."""
    strict = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    started = podman(
        "run", "--detach", "--network", "host", *strict, "--env", f"REGRAIN_PORT={free_ports[0]}", image
    )
    if "error setting rlimit" in started.stderr:
        pytest.skip(f"podman starts no container here: {started.stderr.strip().splitlines()[-1]}")
    assert started.returncode == 0, started.stderr
    name = started.stdout.strip()
    yield name, free_ports[0]
    podman("rm", "--force", name)


def test_it_serves_as_nobody_in_particular_with_a_read_only_root(container: tuple[str, int]) -> None:
    name, port = container
    url = f"http://127.0.0.1:{port}"

    _until_ready(name, url)
    answer = requests.post(url, json={"text": "to be or not to be"}, timeout=30)
    user = podman(
        "exec", name, "python", "-c", "import os; print(os.getuid(), os.access('/home/app', os.W_OK))"
    )
    stopped = podman("stop", "--time", "20", name)
    state = json.loads(podman("inspect", name).stdout)[0]["State"]

    assert answer.json() == {"to": 2, "be": 2, "or": 1, "not": 1}
    assert user.stdout.split() == ["10001", "False"]
    assert stopped.returncode == 0
    assert state["ExitCode"] == 0


def _until_ready(name: str, url: str) -> None:
    """Follow the log until the app says that it is ready."""
    with subprocess.Popen(
        ["podman", "logs", "--follow", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as log:
        said = []
        for line in log.stdout or ():
            said.append(line)
            if "ready in" in line:
                break
        else:
            pytest.fail("".join(said))
        log.terminate()
    assert requests.get(f"{url}/_/ready", timeout=30).status_code == 200
