import pytest

from regrain_watchdog.front.forms import MAX_PARTS, parts

TYPE = "multipart/form-data; boundary=b0"


def _part(name=b'name="a"', more=b"", body=b"x"):
    return b"--b0\r\nContent-Disposition: form-data; " + name + b"\r\n" + more + b"\r\n" + body + b"\r\n"


def test_parts_come_with_name_type_and_bytes():
    body = (
        _part(more=b"Content-Type: image/png\r\n", body=b"\r\n--b1\x00")
        + _part(b'name="\xc3\xa9"')
        + b"--b0--"
    )

    first, second = parts(body, TYPE)

    assert (first.name, first.content_type, bytes(first.body)) == ("a", "image/png", b"\r\n--b1\x00")
    assert (second.name, second.content_type, bytes(second.body)) == ("é", "", b"x")


def test_a_quoted_boundary_is_understood():
    assert len(parts(_part() + b"--b0--", 'multipart/form-data; charset=utf-8; boundary="b0"')) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        pytest.param(_part() + b"--b0--", "multipart/form-data", "names no boundary", id="no boundary"),
        pytest.param(_part(), TYPE, "before its closing boundary", id="truncated"),
        pytest.param(b"", TYPE, "before its closing boundary", id="empty"),
        pytest.param(b"no form", TYPE, "boundary", id="no form"),
        pytest.param(_part(b"x=1") + b"--b0--", TYPE, "no name", id="no name"),
        pytest.param(_part() * (MAX_PARTS + 1) + b"--b0--", TYPE, "more than 256 parts", id="too many"),
        pytest.param(
            _part(more=b"X: " + b"y" * 10_000 + b"\r\n") + b"--b0--", TYPE, "eader", id="endless header"
        ),
        pytest.param(
            _part(), f"multipart/form-data; boundary={'b' * 1000}", "oundary", id="endless boundary"
        ),
    ],
)
def test_what_is_no_form_is_refused(body, content_type, reason):
    with pytest.raises(ValueError, match=reason):
        parts(body, content_type)
