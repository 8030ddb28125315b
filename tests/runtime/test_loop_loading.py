"""A replica's loop as it loads and drops stages, and tells of each."""

from regrain.app import App
from regrain.wire.frames import Load, LoadFailed, Unload


def test_stages_are_loaded_one_by_one_with_their_seconds(front):
    front.send(Load(("mean", "block")))

    first, second, last = front.receive(), front.receive(), front.receive()

    assert [frame.stages for frame in (first, second, last)] == [
        ("mean",),
        ("mean", "block"),
        ("mean", "block"),
    ]
    assert [list(frame.seconds) for frame in (first, second, last)] == [["mean"], ["block"], []]
    assert all(frame.memory > 1 << 20 for frame in (first, second, last))


def test_a_stage_can_be_dropped_again(front):
    front.send(Load(("mean",)), Unload(("mean",)))

    dropped = [front.receive() for _ in range(3)][-1]
    assert (dropped.stages, dropped.seconds) == ((), {})
    assert dropped.memory > 0


def test_a_stage_that_cannot_be_loaded_is_told_and_the_replica_lives(attach):
    app = App("broken")

    class Model:
        def __init__(self) -> None:
            raise FileNotFoundError("no model")

        def __call__(self, item: int) -> int:
            return item

    model = app.stage()(Model)

    @app.flow
    def run(item: int) -> int:
        return model(item)

    front = attach(app)
    try:
        front.send(Load(("model",)), Load(()))

        assert front.receive() == LoadFailed(
            "model", "stage 'model' could not be loaded: FileNotFoundError: no model"
        )
        told = front.receive()
        assert (told.stages, told.seconds) == ((), {})
    finally:
        front.end()
