import pytest

from regrain.errors import RequestError
from regrain_watchdog.front.upstream.heads import go_duration, path_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("10µs", 1e-5),
        ("30", None),
        ("", None),
        ("-1s", None),
        ("1s later", None),
    ],
)
def test_durations_are_read_as_go_reads_them(text, seconds):
    assert go_duration(text) == (pytest.approx(seconds) if seconds else None)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a%2F?b=c", b"/a%2F?b=c"),
        (b"//a", b"//a"),
        (b"http://host:81/a?b", b"/a?b"),
        (b"http://host", b"/"),
        (b"*", b"*"),
    ],
)
def test_a_target_becomes_path_and_query(target, path):
    assert path_of(target) == path


def test_a_target_that_is_no_path_is_refused():
    with pytest.raises(RequestError, match="no path") as refused:
        path_of(b"host:")

    assert refused.value.status == 400
