"""What clients send is checked before it is used, and what goes back has OpenFaaS' form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.gateway import spec
from regrain_watchdog.gateway.spec import Deletion, Deployment, Namespace, Resources, Scale, Secret


def deployment(**fields: Any) -> Deployment:
    return Deployment(**{"service": "hello", "image": "hello:latest", **fields})


def test_a_deployment_is_read_by_openfaas_names() -> None:
    sent = (
        b'{"service":"hello","image":"hello:1","envProcess":"cat","envVars":{"a":"b"},'
        b'"limits":{"memory":"128Mi","nvidia.com/gpu":"1"},"readOnlyRootFilesystem":true,"unknown":1}'
    )

    read = spec.loads(sent, Deployment)

    assert read == Deployment(
        service="hello",
        image="hello:1",
        env_process="cat",
        env_vars={"a": "b"},
        limits=Resources(memory="128Mi", nvidia="1"),
        read_only_root_filesystem=True,
    )


def test_what_was_not_sent_is_not_sent_back() -> None:
    assert msgspec.json.encode(deployment()) == b'{"service":"hello","image":"hello:latest"}'


def test_a_null_is_as_good_as_nothing() -> None:
    assert spec.loads(b'{"service":"a","labels":null,"limits":null}', Deployment) == Deployment(service="a")


@pytest.mark.parametrize(
    "sent", [b"", b"[]", b"{", b'{"service":1}', b'{"labels":{"a":1}}', b'{"service":"\xff"}']
)
def test_what_is_no_deployment_is_refused(sent: bytes) -> None:
    with pytest.raises(SpecError, match="request body"):
        spec.loads(sent, Deployment)


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(SpecError, match=r"`\$\.labels"):
        spec.loads(b'{"service":"a","labels":[]}', Deployment)


@pytest.mark.parametrize("name", ["", "Hello", "-a", "a-", "a.b", "a/b", "a\n", "x" * 64, "ü"])
def test_names_are_dns_labels(name: str) -> None:
    with pytest.raises(SpecError, match="service: up to 63"):
        deployment(service=name).validated()
    with pytest.raises(SpecError, match="functionName"):
        Deletion(function_name=name).validated()
    with pytest.raises(SpecError, match="serviceName"):
        Scale(service_name=name).validated()
    with pytest.raises(SpecError, match="name"):
        Namespace(name=name).validated()


@given(st.from_regex(spec.LABEL, fullmatch=True))
def test_every_dns_label_is_a_name(name: str) -> None:
    assert deployment(service=name).validated().service == name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", ""),
        ("image", "two words"),
        ("namespace", "Up"),
        ("envVars", {"a=b": "c"}),
        ("envVars", {"": "c"}),
        ("envVars", {"a": "\x00"}),
        ("envProcess", "\x00"),
        ("secrets", ["../passwd"]),
        ("secrets", ["a/b"]),
        ("secrets", [".."]),
        ("limits", {"memory": "much"}),
        ("limits", {"cpu": "100Mi"}),
        ("requests", {"memory": "-1"}),
        ("limits", {"memory": "9" * 400}),
        ("limits", {"memory": "16777216Ti"}),
        ("limits", {"cpu": "9" * 400}),
    ],
)
def test_a_bad_field_is_named(field: str, value: object) -> None:
    sent = msgspec.json.encode({"service": "hello", "image": "hello", field: value})

    with pytest.raises(SpecError, match=rf"^({field}|memory|cpu)"):
        spec.loads(sent, Deployment).validated()


def test_the_default_namespace_is_openfaas() -> None:
    assert deployment().validated().namespace == "openfaas-fn"
    assert deployment(namespace="dev").validated().namespace == "dev"


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("128Mi", 128 << 20), ("1.5Gi", 3 << 29), ("128M", 128_000_000), ("64m", 64_000_000)],
)
def test_memory_is_read_in_bytes(text: str, size: int) -> None:
    assert Resources(memory=text).bytes() == size


@pytest.mark.parametrize(("text", "thousandths"), [("", 0), ("100m", 100), ("0.5", 500), ("2", 2000)])
def test_cores_are_read_in_thousandths(text: str, thousandths: int) -> None:
    assert Resources(cpu=text).millicores() == thousandths


def test_a_secret_is_text_or_bytes() -> None:
    assert spec.loads(b'{"name":"key","value":"abc"}', Secret).validated().content() == b"abc"
    assert spec.loads(b'{"name":"key","rawValue":"AP8="}', Secret).validated().content() == b"\x00\xff"


@pytest.mark.parametrize("name", ["", "a/b", "../a", "..", "A", "a..b", "x" * 254, "a\n"])
def test_a_secrets_name_can_be_a_file(name: str) -> None:
    with pytest.raises(SpecError, match="name: a DNS name"):
        Secret(name=name, value="1").validated()


def test_a_secret_has_a_size() -> None:
    with pytest.raises(SpecError, match="up to 1048576 bytes"):
        Secret(name="key", raw_value=bytes(spec.SECRET_SIZE + 1)).validated()


def test_replicas_are_not_negative() -> None:
    with pytest.raises(SpecError, match="replicas: 0 or more"):
        Scale(service_name="hello", replicas=-1).validated()


@pytest.mark.parametrize(
    "image",
    [
        "functions/alpine",
        "docker.io/functions/alpine",
        "functions/alpine:latest",
        "docker.io/functions/alpine:latest",
    ],
)
def test_an_image_has_one_name(image: str) -> None:
    assert spec.image_name(image) == "functions/alpine"
    assert spec.image_name("hello:1.2") == "hello:1.2"
