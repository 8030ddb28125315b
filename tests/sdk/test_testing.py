import sys
from dataclasses import dataclass

import numpy as np
import pytest

from regrain import (
    App,
    Failure,
    GrainError,
    LoadError,
    RequestError,
    SpecError,
    answer,
    context,
    testing,
)


@dataclass(frozen=True)
class Word:
    text: str
    letters: np.ndarray


app = App("words")
built = []
batches = []


@app.stage()
def split(text: str, separator: str) -> list[str]:
    if not text:
        answer("nothing to do", status=422, headers={"X-Why": "empty"})
    return text.split(separator)


class Measure:
    def __init__(self) -> None:
        built.append("measure")

    def __call__(self, words: list[str]) -> list[Word]:
        batches.append(words)
        if "bad" in words:
            raise ValueError("a bad word")
        return [Word(word, np.frombuffer(word.encode(), np.uint8)) for word in words]


measure = app.batched(max_size=16)(Measure)


@app.stage(errors="return")
def shout(word: Word) -> str:
    if word.text == "hush":
        raise ValueError("too loud")
    return word.text.upper()


@app.stage()
def join(shouted: list[str | Failure], words: list[Word], caller: str) -> dict[str, object]:
    told = [item if isinstance(item, str) else f"{item.stage}: {item.message}" for item in shouted]
    return {"said": told, "letters": sum(len(word.letters) for word in words), "by": caller, "id": who()}


def who():
    return context().headers.get("x-user", "")


@app.flow
def speak(text: str, caller: str = "me", separator: str = " ") -> dict[str, object]:
    words = measure.map(split(text, separator))
    return {"answer": join(shout.map(words), words, caller), "first": words}


GRAINS = ["coarse", "fine", "split+measure | shout+join", "split | measure+shout | join"]


def run_in(grain, *args, **parameters):
    return testing.run(app, *args, grain=grain, **parameters)


@pytest.mark.parametrize("grain", GRAINS)
def test_an_app_answers_alike_at_every_grain(grain):
    given = run_in(grain, "a bb hush", separator=" ")

    assert given["answer"] == {
        "said": ["A", "BB", "shout: ValueError: too loud"],
        "letters": 7,
        "by": "me",
        "id": "",
    }
    assert [word.text for word in given["first"]] == ["a", "bb", "hush"]


@pytest.mark.parametrize("grain", GRAINS)
def test_an_empty_list_is_mapped_to_an_empty_list(grain):
    app = App("empty")

    @app.stage()
    def double(number: int) -> int:
        return 2 * number

    @app.flow
    def doubled(numbers: list[int]) -> list[int]:
        return double.map(numbers)

    assert testing.run(app, [], grain="fine") == []
    assert testing.run(app, [1, 2], grain="coarse") == [2, 4]


@pytest.mark.parametrize("grain", GRAINS)
def test_an_answer_in_a_stage_ends_the_request(grain):
    with testing.Session(app) as session:
        reply = session.reply("", grain=grain)

    assert (reply.value, reply.status, reply.headers) == ("nothing to do", 422, {"X-Why": "empty"})


@pytest.mark.parametrize("grain", GRAINS)
def test_a_failing_item_fails_its_request_with_the_stage_named(grain):
    with pytest.raises(RequestError) as caught:
        run_in(grain, "a bad day")

    assert (caught.value.status, caught.value.stage) == (500, "measure")
    assert caught.value.detail == "stage 'measure' failed: ValueError: a bad word"


def test_an_answer_that_cannot_travel_fails_its_own_request():
    odd = App("odd")

    @odd.stage()
    def look(number: int) -> int:
        if number == 2:
            answer({1, 2})
        return number

    @odd.flow
    def flow(number: int) -> int:
        return look(number)

    with testing.Session(odd) as session:
        first, ended, last = session.together([{"number": 1}, {"number": 2}, {"number": 3}])

    assert (first.value, last.value) == (1, 3)
    assert (ended.status, ended.stage) == (500, "look")
    assert "returned what cannot travel" in ended.detail


@pytest.mark.parametrize("grain", GRAINS)
def test_requests_that_run_together_share_batches_and_fail_alone(grain):
    with testing.Session(app) as session:
        batches.clear()
        good, bad, ended = session.together([{"text": "a b"}, {"text": "c bad"}, {"text": ""}], grain=grain)

    assert good.value["answer"]["said"] == ["A", "B"]
    assert bad.stage == "measure"
    assert ended.status == 422
    assert batches[0] == ["a", "b", "c", "bad"]


def test_a_session_builds_each_stage_once():
    built.clear()

    with testing.Session(app) as session:
        for grain in GRAINS:
            session.run("a b", grain=grain)

    assert built == ["measure"]


def test_a_stage_sees_the_headers_and_the_time_left():
    app = App("timed")

    @app.stage()
    def look(name: str) -> list[object]:
        return [name, context().headers["x-user"], 0 < context().time_left() <= 60, context().call_id]

    @app.flow
    def look_around(name: str) -> list[object]:
        return look(name)

    with testing.Session(app, headers={"x-user": "ada"}, timeout=60.0) as session:
        first, second = session.run("n"), session.run("n")

    assert first[:3] == ["n", "ada", True]
    assert first[3] != second[3]


def test_what_passes_between_groups_is_a_copy_that_cannot_be_written():
    app = App("arrays")
    seen = {}

    @app.stage()
    def make(size: int) -> np.ndarray:
        seen["made"] = np.zeros(size)
        return seen["made"]

    @app.stage()
    def look(array: np.ndarray) -> bool:
        seen["looked"] = array
        return bool(array.flags.writeable)

    @app.flow
    def flow(size: int) -> bool:
        return look(make(size))

    assert testing.run(app, 1000, grain="fine") is False
    assert not np.shares_memory(seen["made"], seen["looked"])
    assert testing.run(app, 1000, grain="coarse") is False
    assert np.shares_memory(seen["made"], seen["looked"])


def test_what_cannot_travel_fails_naming_stage_and_type():
    app = App("sets")

    @app.stage()
    def make(size: int) -> object:
        return {"numbers": set(range(size))}

    @app.flow
    def flow(size: int) -> object:
        return make(size)

    with pytest.raises(RequestError, match=r"stage 'make' .*set") as caught:
        testing.run(app, 3, grain="fine")

    assert caught.value.stage == "make"


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_mapping_over_what_is_no_list_is_told(grain):
    app = App("nolist")

    @app.stage()
    def make(size: int) -> object:
        return size

    @app.stage()
    def double(number: int) -> int:
        return 2 * number

    @app.flow
    def flow(size: int) -> list[int]:
        return double.map(make(size))

    with pytest.raises(RequestError, match="mapped over a int; allowed are list and tuple"):
        testing.run(app, 3, grain=grain)


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_lists_of_different_lengths_are_told(grain):
    app = App("lengths")

    @app.stage()
    def add(one: int, other: int) -> int:
        return one + other

    @app.flow
    def flow(ones: list[int], others: list[int]) -> list[int]:
        return add.map(ones, others)

    assert testing.run(app, [1, 2], [3, 4], grain=grain) == [4, 6]
    with pytest.raises(
        RequestError, match="stage 'add' is mapped over lists of different lengths: 1 and 2"
    ) as told:
        testing.run(app, [1], [3, 4], grain=grain)
    assert told.value.status == 400


@pytest.mark.parametrize("grain", ["coarse", "fine"])
@pytest.mark.parametrize(("makes", "status"), [(False, 400), (True, 500)], ids=["the caller", "a stage"])
def test_lists_of_different_lengths_are_the_fault_of_who_made_them(grain, makes, status):
    app = App("makers")

    @app.stage()
    def double(items: list[int]) -> list[int]:
        return 2 * items

    @app.stage()
    def negate(item: int) -> int:
        return -item

    @app.stage()
    def add(one: int, other: int, more: list[int]) -> int:
        return one + other + len(more)

    @app.flow
    def flow(ones: list[int], others: list[int]) -> list[int]:
        twice = double(others)
        return add.map(negate.map(ones), twice if makes else others, more=twice)

    with pytest.raises(RequestError, match=r"stage '\w+' is mapped over lists of different lengths") as told:
        testing.run(app, [1], [3, 4], grain=grain)
    assert told.value.status == status


@pytest.mark.parametrize(
    ("args", "parameters", "message"),
    [
        ((), {}, "parameter 'text' of app 'words' is missing"),
        (("a",), {"text": "b"}, "parameters of app 'words' are text, caller, separator, each once"),
        (("a",), {"other": "b"}, "each once"),
        (("a", "b", "c", "d"), {}, "each once"),
    ],
)
def test_parameters_that_the_flow_does_not_have_are_refused(args, parameters, message):
    with pytest.raises(SpecError, match=message):
        run_in("coarse", *args, **parameters)


def test_a_value_of_the_wrong_type_is_the_callers_mistake():
    with pytest.raises(RequestError, match="parameter 'text'") as caught:
        run_in("coarse", 3)

    assert caught.value.status == 400


def test_an_unknown_grain_is_refused():
    with pytest.raises(GrainError, match="there is no stage 'other'"):
        run_in("split+other", "a")


def test_a_stage_that_cannot_be_built_is_named():
    app = App("unbuilt")

    class Broken:
        def __init__(self) -> None:
            raise FileNotFoundError("no weights")

        def __call__(self, text: str) -> str: ...

    read = app.stage()(Broken)

    @app.flow
    def flow(text: str) -> str:
        return read(text)

    with pytest.raises(LoadError, match="stage 'read' could not be loaded: FileNotFoundError: no weights"):
        testing.run(app, "a")


def test_this_module_is_found_by_name():
    """Dataclasses travel by the name of their module, so a test's own must be importable by theirs."""
    assert sys.modules[Word.__module__].Word is Word


def test_a_failing_stage_may_give_headers():
    app = App("busy")

    @app.stage()
    def wait(item: int) -> int:
        raise RequestError(429, "later", headers={"Retry-After": "7", "Content-Length": "3"})

    @app.flow
    def flow(item: int) -> int:
        return wait(item)

    with pytest.raises(RequestError) as caught:
        testing.run(app, 3)

    assert (caught.value.status, caught.value.headers) == (429, {"retry-after": "7"})
