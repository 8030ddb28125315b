"""Namespaces over the REST contract."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.process
RED = {"name": "red", "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1"}}


def test_the_default_one_is_always_there(control):
    assert control.request("GET", "/system/namespaces").json() == ["openfaas-fn"]
    assert control.request("GET", "/system/namespace/openfaas-fn").json() == {"name": "openfaas-fn"}
    assert control.request("DELETE", "/system/namespace/openfaas-fn").status == 409


def test_one_is_created_described_changed_and_removed(control):
    assert control.request("PUT", "/system/namespace/red", RED).status == 404
    assert control.request("POST", "/system/namespace/", RED).status == 201
    assert control.request("POST", "/system/namespace/", RED).status == 409
    assert control.request("GET", "/system/namespace/red").json() == RED
    assert control.request("GET", "/system/namespaces").json() == ["openfaas-fn", "red"]
    assert control.request("PUT", "/system/namespace/red", {**RED, "labels": {"a": "b"}}).status == 202
    assert control.request("GET", "/system/namespace/red").json() == {**RED, "labels": {"a": "b"}}
    assert control.request("DELETE", "/system/namespace/red", RED).status == 202
    assert control.request("DELETE", "/system/namespace/red", RED).status == 404
    assert control.request("GET", "/system/namespace/red").status == 404


@pytest.mark.parametrize("name", ["", "Red", "a.b", "a/b"])
def test_a_name_that_can_be_none_is_refused(control, name):
    assert control.request("POST", "/system/namespace/", {"name": name}).status == 400
    assert control.request("GET", "/system/namespaces").json() == ["openfaas-fn"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/system/functions", {"service": "hello", "image": "hello", "namespace": "red"}),
        ("/system/secrets", {"name": "key", "value": "a", "namespace": "red"}),
    ],
)
def test_one_that_holds_something_stays(control, path, value):
    control.request("POST", "/system/namespace/", RED)
    control.request("POST", path, value)

    refused = control.request("DELETE", "/system/namespace/red", RED)

    assert refused.status == 409
    assert refused.text == "namespace red still has functions or secrets: remove them first"
