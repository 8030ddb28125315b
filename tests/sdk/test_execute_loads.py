"""The executor loading and dropping stages, and what it tells their device of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from regrain import GPU, App
from regrain.calls import Job
from regrain.context import Context, current_build
from regrain.errors import LoadError
from regrain.execute import Executor


def executor_of(kind: type) -> Executor:
    """Return an executor of an app with one stage, `model`."""
    app = App("loads")
    model = app.stage()(kind)

    @app.flow
    def run(item: int) -> int:
        return model(item)

    return Executor(app, clock=time.monotonic)


def test_a_stage_that_cannot_be_built_is_named():
    class Model:
        def __init__(self) -> None:
            raise FileNotFoundError("no model.onnx")

        def __call__(self, item: int) -> int:
            return item

    executor = executor_of(Model)

    with pytest.raises(
        LoadError, match=r"stage 'model' could not be loaded: FileNotFoundError: no model\.onnx"
    ):
        executor.load(["model"])
    assert executor.resident == ()


def test_stages_are_loaded_once_and_can_be_dropped():
    built = []

    class Model:
        def __init__(self) -> None:
            built.append(self)

        def __call__(self, item: int) -> int:
            return item

    executor = executor_of(Model)
    assert set(executor.load(["model"])) == {"model"}
    assert executor.load(["model"]) == {}
    assert (len(built), executor.resident) == (1, ("model",))

    executor.unload(["model"])

    assert executor.resident == ()


class Books:
    """A device that takes down what is loaded on it, in bytes."""

    def __init__(self) -> None:
        self.loaded: dict[str, int] = {}
        self.lane = "first"

    @contextmanager
    def loading(self, stage: str, memory: int) -> Iterator[None]:
        yield
        self.loaded[stage] = memory

    def unloaded(self, stage: str) -> None:
        del self.loaded[stage]

    @contextmanager
    def running(self, stage: str, count: int) -> Iterator[None]:
        yield

    def waited(self) -> float:
        return 0.0

    def options(self) -> dict[str, str]:
        return {"lane": self.lane}


def test_a_device_learns_what_stages_declare_when_they_are_loaded_and_when_they_are_gone():
    app = App("cards")

    @app.stage(gpu=GPU(memory=1000))
    def model(item: int) -> int:
        return item

    @app.stage()
    def plain(item: int) -> int:
        return item

    @app.flow
    def run(item: int) -> int:
        return plain(model(item))

    executor = Executor(app, clock=time.monotonic)
    executor.device = device = Books()
    executor.load(["model", "plain"])
    assert device.loaded == {"model": 1000}

    executor.unload(["model", "plain"])

    assert device.loaded == {}


@pytest.fixture
def bound():
    """An executor of a stage whose session keeps to its lane, beside one without; its device; what sessions saw."""
    app = App("lanes")
    device, seen = Books(), []

    class Session:
        def __init__(self) -> None:
            self.lane = current_build().cuda()["lane"]
            seen.append(f"made in {self.lane}")

        def __call__(self, item: int) -> int:
            return item

        def __del__(self) -> None:
            seen.append(f"{self.lane} dropped, {device.lane} is there")

    session = app.stage(gpu=GPU(memory=1000))(Session)

    @app.stage(gpu=GPU(memory=1))
    def plain(item: int) -> int:
        return item

    @app.flow
    def run(item: int) -> int:
        return plain(session(item))

    executor = Executor(app, clock=time.monotonic)
    executor.device = device
    executor.load(["session", "plain"])
    return executor, device, seen


def test_a_session_is_dropped_before_its_lane_ends_and_made_anew_in_the_next_one(bound):
    executor, device, seen = bound

    with executor.rebuilding():
        assert list(device.loaded) == ["plain"]
        device.lane = "second"

    assert seen == ["made in first", "first dropped, first is there", "made in second"]
    assert set(executor.resident) == {"session", "plain"}


def test_a_lane_that_cannot_change_has_its_sessions_again(bound):
    executor, _, seen = bound

    with pytest.raises(ValueError, match="refused"), executor.rebuilding():
        raise ValueError("refused")

    assert seen[-1] == "made in first"
    assert set(executor.resident) == {"session", "plain"}


class Awaited(Books):
    """A device that takes down which stage was said to run when a lease of it was asked for, and when it had ended."""

    def __init__(self, began: list[str]) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.ended: list[str] = []
        self._began = began

    @contextmanager
    def running(self, stage: str, count: int) -> Iterator[None]:
        self.seen.append(self._began[-1])
        yield
        self.ended.append(self._began[-1])


def test_a_stage_that_waits_for_its_lease_is_not_said_to_run():
    """Else its timeout would count the wait, as of the call before."""
    app = App("cards")

    @app.stage(gpu=GPU(memory=1000))
    def model(item: int) -> int:
        return item

    @app.flow
    def run(item: int) -> int:
        return model(item)

    began: list[str] = []
    executor = Executor(app, clock=time.monotonic, began=began.append)
    executor.device = device = Awaited(began)
    executor.load(["model"])

    executor.call("model", [Job(Context(call_id="0"), (number,), {}) for number in range(3)])

    assert device.seen == ["", "", ""]
    assert began == ["", "model"] * 3 + [""]


def test_a_stage_that_streams_is_said_to_run_until_the_device_has_done_its_work():
    app = App("cards")

    @app.stage(gpu=GPU(memory=1000))
    def model(count: int) -> Iterator[int]:
        yield from range(count)

    @app.flow
    def run(count: int) -> Iterator[int]:
        return model(count)

    began = [""]
    executor = Executor(app, clock=time.monotonic, began=began.append)
    executor.device = device = Awaited(began)
    executor.load(["model"])

    executor.call("model", [Job(Context(call_id="0"), (2,), {}, lambda _: True)])

    assert (device.seen, device.ended) == ([""] * 3, ["model"] * 3)
    assert began[-1] == ""
