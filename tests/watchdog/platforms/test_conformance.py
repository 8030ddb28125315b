"""What every driver does, whatever it speaks with."""

import pytest

from regrain.errors import SpecError
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.platform import NotThereError, Patience, PlatformError, UnavailableError, wait

HELLO = Function(name="hello", image="example.org/hello:1", environment={"COLOUR": "red"})
HASTY = Patience(answer=0.2, tries=2, pause=0.001)
TOLD = "the disk is full"


def states(case):
    return [(one.name, one.state, one.available) for one in case.platform.standings()]


def test_a_function_starts_serves_and_goes(case):
    case.platform.deploy(HELLO)
    seen = [states(case)]
    case.provider.settle("hello")
    seen.append(states(case))
    case.platform.remove("hello")
    seen.append(states(case))

    assert seen == [[("hello", "starting", 0)], [("hello", "ready", 1)], []]


def test_its_standing_names_image_namespace_and_address(case):
    case.platform.deploy(HELLO)
    case.provider.settle("hello")
    standing = case.platform.standing("hello")

    assert (standing.name, standing.image) == ("hello", "example.org/hello:1")
    assert standing.namespace in ("openfaas-fn", "apps")
    assert standing.url.startswith("http://")
    assert "hello" in standing.url


def test_a_second_deployment_takes_the_place_of_the_first(case):
    case.platform.deploy(HELLO)
    case.platform.deploy(Function(name="hello", image="example.org/hello:2"))

    assert [one.image for one in case.platform.standings()] == ["example.org/hello:2"]


def test_what_is_sent_is_what_a_dry_run_shows(case):
    [manifest] = case.platform.manifests(HELLO)
    case.platform.deploy(HELLO)

    assert case.provider.asked[-1].json() == manifest


def test_functions_are_listed_by_name(case):
    for name in ("two", "one", "three"):
        case.platform.deploy(Function(name=name, image="an/image"))

    assert [one.name for one in case.platform.standings()] == ["one", "three", "two"]


def test_scaling_up_and_to_zero(case):
    case.platform.deploy(HELLO)
    seen = []
    for number in (3, 0):
        case.platform.scale("hello", number)
        case.provider.settle("hello")
        standing = case.platform.standing("hello")
        seen.append((standing.state, standing.replicas, standing.available))

    assert seen == [("ready", 3, 3), ("zero", 0, 0)]


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda platform: platform.standing("nobody"), id="standing"),
        pytest.param(lambda platform: platform.scale("nobody", 1), id="scale"),
        pytest.param(lambda platform: platform.remove("nobody"), id="remove"),
    ],
)
def test_a_function_that_is_not_there_is_named(case, ask):
    with pytest.raises(NotThereError, match="no function nobody in namespace"):
        ask(case.platform)


@pytest.mark.parametrize("name", ["../secrets", "Hello", "", "a" * 64, "a/b", "a?b"])
def test_a_name_that_can_be_none_is_not_sent(case, name):
    for ask in (case.platform.standing, case.platform.remove):
        with pytest.raises(SpecError, match="name: up to 63 of"):
            ask(name)
    assert not case.provider.asked


def test_a_number_of_replicas_that_can_be_none_is_not_sent(case):
    with pytest.raises(SpecError, match="replicas: 0 to 1000, was -1"):
        case.platform.scale("hello", -1)
    assert not case.provider.asked


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_failure_that_passes_is_not_seen(case, status):
    case.platform.deploy(HELLO)
    case.fail(status, TOLD, times=2)

    assert case.platform.standing("hello").name == "hello"
    assert not case.provider.faults


def test_what_was_removed_though_the_answer_was_lost_is_removed(case):
    case.platform.deploy(HELLO)
    case.fail(500, TOLD, done=True)
    case.platform.remove("hello")

    assert states(case) == []


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_that_does_not_pass_is_told_with_its_words(case, status):
    case.fail(status, TOLD, times=9)

    with pytest.raises(UnavailableError, match=f"answered {status}.*: {TOLD}"):
        case.platform.standings()
    assert len(case.provider.asked) == 3


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_refusal_is_told_once_with_its_words(case, status):
    case.platform.deploy(HELLO)
    before = len(case.provider.asked)
    case.fail(status, "this image is forbidden")

    with pytest.raises(PlatformError, match=f"answered {status}.*: this image is forbidden"):
        case.platform.standing("hello")
    assert len(case.provider.asked) == before + 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"<html>Welcome</html>", "text/html", id="a web page"),
        pytest.param(b"[1, 2", "application/json", id="half of JSON"),
        pytest.param(b'{"items": 3, "name": []}', "application/json", id="other JSON"),
        pytest.param(b"\xff\xfe\x00", "application/octet-stream", id="bytes"),
        pytest.param(b"", "application/json", id="nothing"),
    ],
)
def test_garbage_is_no_answer(case, body, kind):
    case.platform.deploy(HELLO)
    for ask in (lambda: case.platform.standing("hello"), case.platform.standings):
        case.fail(200, body=body, kind=kind)
        with pytest.raises(
            PlatformError, match=r"is no (OpenFaaS gateway|Kubernetes with Knative), by its answer"
        ):
            ask()


def test_a_failure_in_garbage_is_told_with_its_status(case):
    case.fail(400, body=b"<html>\x1b[31mgo away\n</html>", kind="text/html")

    with pytest.raises(PlatformError, match="answered 400") as raised:
        case.platform.standings()
    assert "\x1b" not in str(raised.value)


def test_a_redirect_is_not_followed_with_credentials(case):
    case.fail(307, location="http://127.0.0.1:1/elsewhere")

    with pytest.raises(PlatformError, match="answered 307"):
        case.platform.standings()
    assert len(case.provider.asked) == 1


def test_silence_ends(case):
    case.fail(0, times=9)

    with pytest.raises(UnavailableError, match="no answer in time"):
        case.make(HASTY).standings()
    assert case.provider.times_asked(2) == 2


def test_an_answer_that_does_not_end_is_given_up(case):
    case.fail(200, times=9, kind="application/json", endless=True)

    with pytest.raises(UnavailableError, match=r"no answer in time|takes too long"):
        case.make(HASTY).standings()
    assert case.provider.times_asked(2) == 2


def test_an_answer_that_is_too_large_is_given_up(case):
    case.fail(200, times=9, kind="application/json", body=b"[" + b" " * (16 << 20) + b"]")

    with pytest.raises(PlatformError, match="more than 16777216 bytes"):
        case.platform.standings()


def test_a_port_where_nobody_listens(case, free_ports):
    case.provider.url = f"http://127.0.0.1:{free_ports[0]}"

    with pytest.raises(UnavailableError, match=f"{case.provider.url} does not answer"):
        case.make(HASTY).standings()


def test_waiting_tells_each_standing_once_and_ends_when_it_serves(case):
    case.platform.deploy(HELLO)
    told, slept = [], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            case.provider.settle("hello")

    standing = wait(case.platform, "hello", 10, told.append, clock=lambda: float(len(slept)), sleep=sleep)

    assert [one.state for one in told] == ["starting", "ready"]
    assert (standing.state, slept) == ("ready", [1.0, 1.0])


def test_waiting_ends_after_its_time(case):
    case.platform.deploy(HELLO)
    slept = []

    with pytest.raises(PlatformError, match="hello is still starting after 3 s"):
        wait(case.platform, "hello", 3, print, clock=lambda: float(len(slept)), sleep=slept.append)
    assert len(slept) == 3
