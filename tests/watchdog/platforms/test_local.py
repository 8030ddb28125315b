"""What is this machine's own: the build before the deployment."""

import os
from dataclasses import replace

import pytest

from regrain.errors import SpecError
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.platform import PlatformError

HELLO = Function(name="hello", image="hello:latest")


def test_the_apps_files_are_built_and_then_deployed(gateway, local, source):
    (source.folder / "parts" / "__pycache__").mkdir(parents=True)
    (source.folder / "parts" / "one.py").write_text("1\n")
    (source.folder / "parts" / "__pycache__" / "one.pyc").write_text("\n")
    told = []
    local(source=replace(source, told=told.append)).deploy(HELLO)

    assert gateway.built == [
        {
            "com.openfaas.docker.config": b'{"image":"hello:latest"}',
            "context/template.yml": b"language: regrain\nfprocess: regrain run function\n",
            "context/function/app.py": b"app = 1\n",
            "context/function/parts/one.py": b"1\n",
        }
    ]
    assert told == ["one step"]
    assert [(one.method, one.path) for one in gateway.asked] == [
        ("POST", "/build"),
        ("PUT", "/system/functions"),
        ("POST", "/system/functions"),
    ]


def test_the_password_is_not_sent_with_a_build(gateway, local):
    local().deploy(HELLO)

    assert "authorization" not in gateway.asked[0].headers
    assert "authorization" in gateway.asked[1].headers


def test_another_key_is_refused_and_nothing_deployed(gateway, local, source):
    with pytest.raises(PlatformError, match="answered 401 to POST /build: X-Build-Signature is missing"):
        local(source=replace(source, key=b"tr0ub4dor")).deploy(HELLO)
    assert not gateway.functions
    assert "tr0ub4dor" not in repr(replace(source, key=b"tr0ub4dor"))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b'{"status": "failed", "error": "no app"}\n', "was not built: no app", id="failed"),
        pytest.param(
            b'{"status": "in_progress"}\n', "was not built: the gateway ended the build", id="cut off"
        ),
        pytest.param(b"", "the gateway ended the build", id="empty"),
        pytest.param(b"<html>", "answer to a build is none", id="garbage"),
    ],
)
def test_a_build_that_fails_deploys_nothing(gateway, local, fault, body, told):
    gateway.faults.append(fault(200, body))

    with pytest.raises(PlatformError, match=told):
        local().deploy(HELLO)
    assert not gateway.functions


def test_a_build_is_asked_for_again_while_the_control_plane_starts(gateway, local, fault):
    gateway.faults += [fault(503, b"the control plane is being started"), fault(503, b"")]

    local().deploy(HELLO)

    assert [one.path for one in gateway.asked[:4]] == ["/build", "/build", "/build", "/system/functions"]
    assert gateway.asked[2].body == gateway.asked[0].body
    assert len(gateway.built) == 1


def test_a_build_that_may_have_begun_is_not_asked_for_again(gateway, local, fault):
    gateway.faults.append(fault(502, b""))

    with pytest.raises(PlatformError, match="answered 502 to POST /build"):
        local().deploy(HELLO)
    assert [one.path for one in gateway.asked] == ["/build"]


def test_a_link_out_of_the_folder_is_not_sent(gateway, local, source):
    os.symlink("/etc/hostname", source.folder / "host")

    with pytest.raises(SpecError, match="host is a link out of"):
        local().deploy(HELLO)
    assert not gateway.asked


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/etc", id="a folder elsewhere"),
        pytest.param("parts", id="a folder of its own"),
        pytest.param(".", id="what it is in"),
        pytest.param("nowhere", id="nothing"),
        pytest.param("link", id="itself"),
    ],
)
def test_a_link_to_no_file_is_named_and_not_left_out(gateway, local, source, target):
    (source.folder / "parts").mkdir()
    os.symlink(target, source.folder / "link")

    with pytest.raises(SpecError, match="link is a link to no file, which is not followed"):
        local().deploy(HELLO)
    assert not gateway.asked


def test_a_link_to_a_file_of_the_folder_is_sent_as_that_file(gateway, local, source):
    os.symlink("app.py", source.folder / "other.py")

    local().deploy(HELLO)

    assert gateway.built[0]["context/function/other.py"] == b"app = 1\n"


def test_hidden_links_stay_out(gateway, local, source):
    os.symlink("/etc", source.folder / ".venv")

    local().deploy(HELLO)

    assert set(gateway.built[0]) == {
        "com.openfaas.docker.config",
        "context/template.yml",
        "context/function/app.py",
    }
