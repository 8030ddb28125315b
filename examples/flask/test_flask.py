"""The Flask app alone, and behind the front as `regrain run` serves it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import requests

FOLDER = Path(__file__).parent
TEXT = b"The cat and the dog and the bird."


@pytest.fixture(scope="module")
def client():
    spec = importlib.util.spec_from_file_location("flask_example", FOLDER / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app.test_client()


def test_the_app_counts_words(client):
    assert client.post("/?limit=2", data=TEXT).get_json() == [["the", 3], ["and", 2]]
    assert client.post("/", data=b"...").status_code == 400


@pytest.mark.process
def test_the_front_serves_it_and_drains():
    command = [sys.executable, "-m", "regrain_watchdog.cli", "run", "wsgi:app:app"]
    with subprocess.Popen(
        [*command, "--port", "0", "--metrics-port", "0"], cwd=FOLDER, stdout=subprocess.PIPE, text=True
    ) as process:
        ready = next(line for line in process.stdout if line.startswith("regrain: ready"))
        url = next(word for word in ready.split() if word.startswith("http")).rstrip(",")
        words = requests.post(f"{url}/?limit=1", data=TEXT, timeout=60)
        lines = requests.post(f"{url}/lines", data=b"a b\nc", timeout=60)
        process.terminate()
        process.communicate(timeout=60)

    assert words.json() == [["the", 3]]
    assert words.headers["X-Duration-Seconds"]
    assert lines.text == "data: 2\n\ndata: 1\n\n"
    assert process.returncode == 0
