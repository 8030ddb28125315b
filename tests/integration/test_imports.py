"""What the processes that serve a function have imported: numpy only where the app has a use for it."""

from pathlib import Path

import psutil

EXAMPLES = Path(__file__).parents[2] / "examples"
LATE = """
from regrain import App

app = App("late")


@app.stage()
def count(upto: int) -> object:
    import numpy

    return numpy.arange(upto)


@app.stage()
def double(counted: object) -> object:
    return counted + counted


@app.flow
def late(upto: int) -> object:
    return double(count(upto))
"""


def with_numpy(served):
    """The zygote, and the replicas, whether each of them has numpy's library mapped."""
    zygote = served.zygote()
    replicas = served.replicas()
    return has_numpy(zygote), [has_numpy(pid) for pid in replicas]


def has_numpy(pid):
    return any("_multiarray_umath" in mapped.path for mapped in psutil.Process(pid).memory_maps())


def test_an_app_of_text_is_served_without_numpy(serve):
    served = serve(EXAMPLES / "hello", slo="60s")

    assert [served.call(name=name).text for name in ("Ada", "Max")] == ["Hello, Ada!", "Hello, Max!"]
    assert with_numpy(served) == (False, [False])


def test_an_app_that_imports_numpy_has_it_before_its_replicas_are_forked(serve):
    served = serve("tensor.py", slo="60s")

    assert served.call(pixels=[[1, 2, 3]]).json() == [[1, 2, 3]]
    assert with_numpy(served) == (True, [True])


def test_a_stage_that_is_handed_an_array_imports_it_by_then(serve, tmp_path):
    path = tmp_path / "late.py"
    path.write_text(LATE)
    served = serve(path, grain="fine", slo="60s")

    assert with_numpy(served) == (False, [False, False])
    assert served.call(upto=3).json() == [0, 2, 4]
    assert with_numpy(served) == (False, [True, True])
