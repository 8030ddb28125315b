"""What the gateway tells of itself, and its page."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from regrain_watchdog.gateway.control.about import digest
from regrain_watchdog.gateway.spec import Standing

CHROMIUM = shutil.which("chromium")


@pytest.mark.process
def test_info_leaves_nothing_out_that_clients_look_into(control):
    told = control.request("GET", "/system/info").json()

    assert told["provider"]["provider"] == "regrain"
    assert told["provider"]["orchestration"]
    assert told["arch"]
    for version in (told["version"], told["provider"]["version"]):
        assert version["release"] == metadata.version("regrain")
        assert re.fullmatch("[0-9a-f]{40}", version["sha"])


@pytest.mark.process
@pytest.mark.parametrize(
    ("path", "kind", "holds"),
    [
        ("/ui/", "text/html; charset=utf-8", "<h1>Functions</h1>"),
        ("/ui/ui.js", "text/javascript; charset=utf-8", "/ui/functions"),
        ("/ui/parts.js", "text/javascript; charset=utf-8", "export function table"),
        ("/ui/page.css", "text/css; charset=utf-8", "table"),
        ("/ui/icon.svg", "image/svg+xml; charset=utf-8", "<svg"),
    ],
)
def test_the_page_loads_nothing_from_elsewhere(control, path, kind, holds):
    file = control.request("GET", path)

    assert file.status == 200
    assert file.headers["content-type"] == kind
    assert file.headers["content-security-policy"].startswith("default-src 'self';")
    assert holds in file.text
    assert not re.search(r"https?://(?!www\.w3\.org)", file.text)


@pytest.mark.process
def test_the_page_asks_for_all_functions_and_how_they_do(control, front):
    control.request("POST", "/system/namespace/", {"name": "red"})
    control.request("POST", "/system/functions", {"service": "hello", "image": "hello"})
    control.request("POST", "/system/functions", {"service": "hello", "image": "hello", "namespace": "red"})
    front.standings = [
        Standing(name="hello", namespace="red", state="failed", detail="it does not import", memory=5)
    ]

    here, red = control.request("GET", "/ui/functions").json()

    assert (here["namespace"], here.get("state")) == ("openfaas-fn", None)
    assert (red["namespace"], red["state"], red["detail"]) == ("red", "failed", "it does not import")
    assert red["usage"]["totalMemoryBytes"] == 5


@pytest.mark.process
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")
def test_the_page_shows_functions_in_a_browser(start, free_ports, tmp_path):
    control = start(address=f"127.0.0.1:{free_ports[0]}", auth=False)
    control.request("POST", "/system/functions", {"service": "hello", "image": "hello"}, Host=control.address)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    flags += ["--virtual-time-budget=5000", "--dump-dom", f"http://{control.address}/ui/"]

    done = subprocess.run([str(CHROMIUM), *flags], capture_output=True, text=True, timeout=60, check=True)

    assert '<p id="about">1 function</p>' in done.stdout
    assert '<a href="/function/hello.openfaas-fn">hello</a>' in done.stdout
    assert '<td class="number">0 of 1</td>' in done.stdout


@pytest.mark.process
def test_there_is_nothing_else(control):
    assert control.request("GET", "/ui").headers["location"] == "/ui/"
    assert control.request("GET", "/ui/../app.py").status == 404
    assert control.request("GET", "/ui/nope.js").status == 404
    assert control.request("GET", "/system/nope").status == 404
    assert control.request("PATCH", "/system/functions").status == 405


def test_a_digest_tells_two_versions_of_code_apart(tmp_path: Path):
    (tmp_path / "a.py").write_text("1")
    first = digest(tmp_path)

    assert digest(tmp_path) == first
    (tmp_path / "a.py").write_text("2")
    second = digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")

    assert len({first, second, digest(tmp_path)}) == 3
