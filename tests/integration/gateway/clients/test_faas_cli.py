"""From an empty folder to a function that is updated under load, with the unmodified faas-cli alone.

FAAS_CLI names the binary (https://github.com/openfaas/faas-cli, 0.18).
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PAGE = Path(importlib.util.find_spec("skimage").origin).parent / "data" / "page.png"
TEXT = json.dumps({"text": "to be or not to be"})
COUNTED = {"to": 2, "be": 2, "or": 1, "not": 1}


@pytest.fixture
def hello(faas, templates: Path) -> Path:
    """A function made of the template, serving; its folder."""
    faas("template", "pull", str(templates))
    faas("new", "--lang", "regrain", "hello")
    faas.up()
    faas("ready", "hello")
    return Path(faas.folder / "hello")


def test_a_function_is_made_built_deployed_and_removed(faas, templates: Path) -> None:
    assert "[regrain]" in faas("template", "pull", str(templates))
    assert "Function created in folder: hello" in faas("new", "--lang", "regrain", "hello")
    assert "shrink-wrapped to build/hello" in faas("build", "--shrinkwrap", "-f", "stack.yaml")
    assert (faas.folder / "build" / "hello" / "function" / "app.py").is_file()

    told = faas.up()
    assert "app words with the stages split, count" in told
    assert "Deployed. 202 Accepted." in told
    assert "Function hello is ready" in faas("ready", "hello")
    assert re.search(r"name:\s+regrain\s", faas("version", "--warn-update=false"))

    assert json.loads(invoked(faas, "hello")) == COUNTED
    assert json.loads(invoked(faas, "hello", "--sign", "X-Hub-Signature", "--key", "k")) == COUNTED
    assert re.search(r"^hello\s+hello:latest\s+2\s+1\s+\S+", faas("list", "-v"), re.MULTILINE)
    described = faas("describe", "hello")
    for line in (r"Status:\s+Ready", r"Available Replicas:\s*1", r"Image:\s+hello:latest"):
        assert re.search(line, described), described
    generated = faas("generate", "-f", "stack.yaml")
    assert re.search(r"kind: Function\n.*\n\s+name: hello", generated), generated

    assert "Removing old function." in faas("remove", "-f", "stack.yaml")
    assert "404" in invoked(faas, "hello", code=1)
    assert "hello" not in faas("list")


@pytest.mark.timeout(300)  # models are loaded, and a page is read
def test_the_stack_deploys_the_examples(faas, templates: Path) -> None:
    """The file at the top: hello, and an app with models that adapts by itself."""
    pytest.importorskip("rapidocr", reason="the models come with it")
    shutil.copy(ROOT / "stack.yml", faas.folder)
    for name in ("hello", "ocr"):
        shutil.copytree(ROOT / "examples" / name, faas.folder / "examples" / name)
    faas("template", "pull", str(templates))

    assert faas.up("stack.yml").count("Deployed. 202 Accepted.") == 2

    for name in ("hello", "ocr"):
        faas("ready", name)
    assert faas("invoke", "hello", stdin="") == "Hello, world!"
    read = faas.gateway.invoke("ocr", data=PAGE.read_bytes(), headers={"Content-Type": "image/png"})
    assert "Letusfirstdeterminemarkersofthecoins" in "".join(read.json()["text"].split())


def invoked(faas, name: str, *more: str, code: int = 0) -> str:
    """What a function answers to the text."""
    answer: str = faas("invoke", name, "--content-type", "application/json", *more, stdin=TEXT, code=code)
    return answer


def test_a_signature_is_of_what_the_function_gets(faas) -> None:
    faas("deploy", "--image", "functions/alpine", "--name", "env", "--fprocess", "env")
    faas("ready", "env")

    told = faas("invoke", "env", "--sign", "X-Hub-Signature", "--key", "k", stdin="body")

    signature = hmac.new(b"k", b"body", hashlib.sha256).hexdigest()
    assert f"Http_X_Hub_Signature=sha256={signature}\n" in told


@pytest.mark.usefixtures("hello")
def test_a_function_answers_later(faas, called, until) -> None:
    told = invoked(faas, "hello", "--async", "--header", f"X-Callback-Url: {called.url}")
    until(lambda: called.calls, "the result is called back")

    assert "Function submitted asynchronously." in told
    assert json.loads(called.body) == COUNTED
    assert called.headers["x-function-status"] == "200"
    assert called.headers["x-function-name"] == "hello"


def test_logs_are_read_and_followed(gateway, faas) -> None:
    faas("deploy", "--image", "functions/alpine", "--name", "cat", "--fprocess", "cat")
    faas("ready", "cat")
    faas("invoke", "cat", stdin="four")
    read = faas("logs", "cat", "--tail=false")
    following = faas.begin("logs", "cat", "--lines=1")
    assert following.stdout is not None
    last = following.stdout.readline()
    gateway.invoke("cat", data=b"12345")
    came = [following.stdout.readline(), following.stdout.readline()]
    following.kill()
    following.communicate()

    assert "Forking fprocess" in read
    assert "Wrote 4 Bytes" in read
    assert "Wrote 4 Bytes" in last
    assert "Forking fprocess" in came[0]
    assert "Wrote 5 Bytes" in came[1]


def test_a_secret_is_read_by_the_function_that_names_it_and_follows_its_update(faas) -> None:
    def deploy() -> None:
        command = ["--fprocess", "cat /var/openfaas/secrets/key", "--secret", "key"]
        faas("deploy", "--image", "functions/alpine", "--name", "cat", *command)
        faas("ready", "cat")

    faas("secret", "create", "key", "--from-literal", "one")
    deploy()
    first = faas("invoke", "cat")
    faas("secret", "update", "key", "--from-literal", "two")
    deploy()
    second = faas("invoke", "cat")

    assert (first, second) == ("one", "two")
    assert re.search(r"^key\s*$", faas("secret", "list"), re.MULTILINE)
    assert "is named by cat" in faas("secret", "remove", "key", code=1)
    faas("remove", "cat")
    faas("secret", "remove", "key")
    assert "key" not in faas("secret", "list")


def test_functions_of_two_namespaces_are_two(faas) -> None:
    faas("namespace", "create", "red", "--label", "a=b")
    for namespace in ("red", "openfaas-fn"):
        named = ["--env", f"WHERE={namespace}", "-n", namespace]
        faas("deploy", "--image", "functions/alpine", "--name", "env", "--fprocess", "env", *named)
        faas("ready", "env", "-n", namespace)

    assert "WHERE=red\n" in faas("invoke", "env", "-n", "red")
    assert "WHERE=openfaas-fn\n" in faas("invoke", "env")
    assert "red" in faas("namespace", "list")
    assert "a: b" in faas("namespace", "get", "red")
    faas("namespace", "update", "red", "--label", "a=c")
    assert "a: c" in faas("namespace", "get", "red")
    faas("remove", "env", "-n", "red")
    faas("namespace", "delete", "red")
    assert "red" not in faas("namespace", "list")
    assert "WHERE=openfaas-fn\n" in faas("invoke", "env")


def test_a_changed_handler_takes_over_and_no_request_fails_meanwhile(
    faas, hello, load, until, greeting
) -> None:
    gateway, handler = faas.gateway, hello / "app.py"
    handler.write_text(greeting("Old"))
    faas.up()
    until(lambda: gateway.invoke("hello", json={"name": "x"}).text == "Old x", "the first version answers")
    asked = load(gateway)
    until(asked.has("Old x"), "clients are answered")

    handler.write_text(greeting("New"))
    faas.up()
    until(asked.has("New x"), "the second version answers")
    handler.write_text("import nothing_of_this_name")
    told = faas.up(code=1)
    asked.end()

    assert [one for one in asked.answers if one[0] != 200] == []
    assert {text for _, text in asked.answers} == {"Old x", "New x"}
    assert "nothing_of_this_name" in told
    assert gateway.invoke("hello", json={"name": "y"}).text == "New y"
