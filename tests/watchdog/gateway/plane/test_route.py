import pytest

from regrain_watchdog.gateway.plane.route import FUNCTION, named, split


@pytest.mark.parametrize(
    ("path", "key", "below"),
    [
        ("/function/hello", ("openfaas-fn", "hello"), "/"),
        ("/function/hello/", ("openfaas-fn", "hello"), "/"),
        ("/function/hello.openfaas-fn", ("openfaas-fn", "hello"), "/"),
        ("/function/hello.dev/a/b.c", ("dev", "hello"), "/a/b.c"),
        ("/function/a.b.dev", ("dev", "a.b"), "/"),
        ("/function/", ("openfaas-fn", ""), "/"),
    ],
)
def test_a_path_names_a_function_and_what_is_below_it(path: str, key: tuple[str, str], below: str) -> None:
    assert split(path, FUNCTION) == (key, below)


def test_a_name_has_its_namespace_behind_the_last_dot() -> None:
    assert named("x.y") == ("y", "x")
