"""Secrets over the REST contract: kept, never answered, and files for functions."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.process
KEY = {"name": "key", "value": "secret text"}


def file(control, name: str = "key"):
    return control.settings.secrets / "openfaas-fn" / name


def test_a_secret_is_created_replaced_and_removed(control):
    assert control.request("GET", "/system/secrets").json() == []
    assert control.request("PUT", "/system/secrets", KEY).status == 404
    assert control.request("POST", "/system/secrets", KEY).status == 202
    assert file(control).read_bytes() == b"secret text"
    assert control.request("POST", "/system/secrets", {**KEY, "value": "other"}).status == 409
    assert file(control).read_bytes() == b"secret text"
    assert control.request("PUT", "/system/secrets", {**KEY, "value": "other"}).status == 202
    assert file(control).read_bytes() == b"other"

    assert control.request("DELETE", "/system/secrets", {"name": "key"}).status == 202
    assert control.request("DELETE", "/system/secrets", {"name": "key"}).status == 404
    assert not file(control).exists()


def test_a_secret_that_a_function_names_stays(control):
    control.request("POST", "/system/secrets", KEY)
    control.request("POST", "/system/functions", {"service": "hello", "image": "hello", "secrets": ["key"]})

    refused = control.request("DELETE", "/system/secrets", {"name": "key"})

    assert refused.status == 409
    assert refused.text == "secret key is named by hello: remove or deploy it without first"
    assert file(control).read_bytes() == b"secret text"


def test_what_a_secret_holds_is_never_answered(control):
    control.request("POST", "/system/secrets", KEY)

    listed = control.request("GET", "/system/secrets")
    twice = control.request("POST", "/system/secrets", KEY)

    assert listed.json() == [{"name": "key", "namespace": "openfaas-fn"}]
    assert "secret text" not in twice.text
    assert "secret text" not in control.output


def test_bytes_come_as_base64(control):
    control.request(
        "POST", "/system/secrets", {"name": "key", "rawValue": base64.b64encode(b"\x00\xff").decode()}
    )

    assert file(control).read_bytes() == b"\x00\xff"


@pytest.mark.parametrize("name", ["", "a/b", "../a", "..", "A", ".a", "a" * 254])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_name_that_is_no_file_s_is_refused(control, method, name):
    refused = control.request(method, "/system/secrets", {"name": name, "value": "a"})

    assert refused.status == 400
    assert refused.text.startswith("name:")
    assert control.store.secrets() == []


def test_a_secret_that_is_too_large_is_refused(control):
    assert control.request("POST", "/system/secrets", {"name": "key", "value": "a" * (1 << 20)}).status == 202
    assert (
        control.request("PUT", "/system/secrets", {"name": "key", "value": "a" * (1 + (1 << 20))}).status
        == 400
    )


def test_a_namespace_that_does_not_exist_has_none(control):
    refused = control.request("POST", "/system/secrets", {**KEY, "namespace": "nope"})

    assert refused.status == 400
    assert "create it first" in refused.text


def test_namespaces_keep_secrets_apart(control):
    control.request("POST", "/system/namespace/", {"name": "red"})
    control.request("POST", "/system/secrets", {**KEY, "namespace": "red"})

    assert control.request("GET", "/system/secrets").json() == []
    assert control.request("GET", "/system/secrets?namespace=red").json() == [
        {"name": "key", "namespace": "red"}
    ]


def test_a_control_plane_that_starts_makes_the_files_what_the_store_says(start):
    control = start()
    control.request("POST", "/system/secrets", KEY)
    control.stop()
    file(control).write_bytes(b"half of a chan")
    file(control, "gone").write_bytes(b"left")

    control.start()

    assert file(control).read_bytes() == b"secret text"
    assert not file(control, "gone").exists()


def obstruct(control, place: str) -> Callable[[], None]:
    """Have something else where a secret's file, or its folder, is to be; return what undoes it."""
    found = control.settings.secrets / place
    kept = found.with_name("aside")
    found.parent.mkdir(parents=True, exist_ok=True)
    if found.exists():
        found.rename(kept)
    make, remove = (found.mkdir, found.rmdir) if "/" in place else (found.touch, found.unlink)
    make()

    def undo() -> None:
        remove()
        if kept.exists():
            kept.rename(found)

    return undo


PLACES = pytest.mark.parametrize("place", ["openfaas-fn", "openfaas-fn/key"])


@PLACES
def test_a_new_secret_without_a_file_is_not_kept(start, place):
    control = start()
    undo = obstruct(control, place)

    refused = control.request("POST", "/system/secrets", KEY)
    undo()

    assert refused.status == 507
    assert control.store.secrets() == []
    assert control.request("POST", "/system/secrets", KEY).status == 202
    assert file(control).read_bytes() == b"secret text"


@PLACES
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_secret_whose_file_cannot_be_changed_is_as_before(start, method, place):
    control = start()
    control.request("POST", "/system/secrets", KEY)
    undo = obstruct(control, place)

    refused = control.request(method, "/system/secrets", {**KEY, "value": "other"})
    undo()

    assert refused.status == 507
    assert [one.content() for one in control.store.secrets()] == [b"secret text"]
    assert file(control).read_bytes() == b"secret text"


def test_of_changes_at_once_the_last_one_is_in_store_and_file(control):
    control.request("POST", "/system/secrets", KEY)

    def change(number: int) -> int:
        return control.request("PUT", "/system/secrets", {**KEY, "value": str(number)}).status

    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            assert set(pool.map(change, range(8))) == {202}
            assert [one.content() for one in control.store.secrets()] == [file(control).read_bytes()]
