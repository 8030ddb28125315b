import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from regrain._onnx import OnnxModel, onnx
from regrain.context import building
from regrain.errors import LoadError, SpecError
from regrain.manifest import GPUSpec, StageSpec

CLASSIFIER = "rapidocr:models/ch_ppocr_mobile_v2.0_cls_mobile.onnx"


@dataclass
class Named:
    name: str
    shape: list[int | str | None]
    type: str


class SumAndDifference:
    """A session over two inputs, x and y, that gives x + y and x - y."""

    def get_inputs(self):
        return [Named("x", ["batch", 2], "tensor(float)"), Named("y", [None, 2], "tensor(int64)")]

    def get_outputs(self):
        return [Named("sum", [], "tensor(double)"), Named("difference", [1], "tensor(bool)")]

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def run(self, output_names, input_feed):
        assert output_names is None
        return [input_feed["x"] + input_feed["y"], input_feed["x"] - input_feed["y"]]


@pytest.fixture(scope="module")
def onnxruntime():
    pytest.importorskip("rapidocr", reason="the models come from rapidocr")
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def test_a_model_of_a_package_runs(onnxruntime):
    model = onnx(CLASSIFIER)

    (scores,) = model(np.zeros((1, 3, 48, 192), np.float32))

    assert scores.shape == (1, 2)
    assert scores.sum() == pytest.approx(1.0)


def test_it_takes_read_only_and_strided_arrays(onnxruntime):
    model = onnx(CLASSIFIER)
    array = np.linspace(0, 1, 2 * 3 * 48 * 192, dtype=np.float32).reshape(2, 192, 48, 3).transpose(0, 3, 2, 1)
    array.flags.writeable = False

    np.testing.assert_array_equal(model(array)[0], model(np.ascontiguousarray(array))[0])


def test_it_tells_what_the_model_takes_and_gives():
    model = OnnxModel(SumAndDifference())

    assert [(port.name, port.datatype, port.shape) for port in (*model.inputs, *model.outputs)] == [
        ("x", "FP32", (-1, 2)),
        ("y", "INT64", (-1, 2)),
        ("sum", "FP64", ()),
        ("difference", "BOOL", (1,)),
    ]


def test_it_tells_what_the_file_says_of_itself(onnxruntime):
    characters = onnx("rapidocr:models/PP-OCRv6_rec_small.onnx").metadata["character"]

    assert {"a", "Z", "7"} <= set(characters.splitlines())


def test_arrays_go_by_order_and_by_name():
    model = OnnxModel(SumAndDifference())
    one, two = np.array([1]), np.array([2])

    for given in (model(one, two), model(one, y=two), model(y=two, x=one)):
        assert [array.item() for array in given] == [3, -1]


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((1, 2, 3), {}, "the model takes x, y; got 3 arrays"),
        ((1,), {"x": 2}, "x, y, each once; got 'x' too"),
        ((1,), {"z": 2}, "x, y, each once; got 'z' too"),
    ],
)
def test_arrays_too_many_are_refused(args, named, message):
    with pytest.raises(SpecError, match=message):
        OnnxModel(SumAndDifference())(*args, **named)


def test_it_runs_on_the_cores_of_its_stage_and_does_not_spin(onnxruntime):
    with building("read", StageSpec(name="read", digest="", cpu=2.0)):
        stage = onnx(CLASSIFIER).session.get_session_options()
        own = onnx(CLASSIFIER, cpu=3).session.get_session_options()
    plain = onnx(CLASSIFIER).session.get_session_options()

    threads = [options.intra_op_num_threads for options in (stage, own, plain)]
    assert threads == [2, 3, 1]
    assert stage.inter_op_num_threads == 1
    assert stage.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_part_of_a_core_is_one_thread(onnxruntime):
    with building("read", StageSpec(name="read", digest="", cpu=0.5)):
        assert onnx(CLASSIFIER).session.get_session_options().intra_op_num_threads == 1


def test_without_cuda_a_stage_that_asked_for_it_is_told_in_one_line(onnxruntime, caplog):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    with building("read", StageSpec(name="read", digest="", gpu=GPUSpec())):
        model = onnx(CLASSIFIER)
        onnx(CLASSIFIER, gpu=False)
    onnx(CLASSIFIER)

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("no CUDA for onnxruntime here, on the CPU instead: model ch_ppocr")
    assert record.getMessage().endswith("stage read")
    assert model.session.get_providers() == ["CPUExecutionProvider"]


def test_a_model_beside_the_calling_file_is_found(onnxruntime, tmp_path):
    file = Path(__file__).parent / "absent.onnx"

    with pytest.raises(LoadError, match=f"looked for {file} and "):
        onnx("absent.onnx")


def test_a_corrupt_model_is_refused_in_one_line(onnxruntime, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no model\n" * 50)

    with pytest.raises(LoadError, match=r"net\.onnx could not be loaded as an ONNX model: ") as caught:
        onnx(str(path))

    assert "\n" not in str(caught.value)


def test_a_truncated_model_is_refused(onnxruntime, tmp_path):
    from regrain import resources

    whole = resources.find(CLASSIFIER, Path())
    path = tmp_path / "net.onnx"
    path.write_bytes(whole.read_bytes()[:100_000])

    with pytest.raises(LoadError, match=r"net\.onnx could not be loaded"):
        onnx(str(path))


def test_without_onnxruntime_it_says_what_to_install(monkeypatch):
    pytest.importorskip("rapidocr", reason="the models come from rapidocr")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(LoadError, match=r"pip install 'regrain\[onnx\]'"):
        onnx(CLASSIFIER)


LARGE = "rapidocr:models/PP-OCRv6_rec_small.onnx"


def read(model):
    return model(np.random.default_rng(1).standard_normal((2, 3, 48, 160), np.float32))[0]


def entries(kept_weights):
    return sorted(path.name for path in kept_weights.glob("onnx-*"))


def test_shared_weights_give_the_same_answers_and_what_the_file_says(onnxruntime, kept_weights, caplog):
    own, maker, sharer = onnx(LARGE, share=False), onnx(LARGE), onnx(LARGE)

    np.testing.assert_array_equal(read(maker), read(own))
    np.testing.assert_array_equal(read(sharer), read(own))
    assert (sharer.metadata, sharer.inputs, sharer.outputs) == (own.metadata, own.inputs, own.outputs)
    assert len(entries(kept_weights)) == 1
    assert caplog.records == []


def test_small_models_and_those_that_shall_not_share_leave_no_file(onnxruntime, kept_weights, monkeypatch):
    onnx(CLASSIFIER)
    onnx(LARGE, share=False)
    monkeypatch.setenv("REGRAIN_WEIGHTS", "off")
    onnx(LARGE, share=True)

    assert not kept_weights.exists()


def test_a_model_that_was_changed_is_read_anew(onnxruntime, onnx_file, kept_weights, tmp_path):
    path, data = tmp_path / "net.onnx", tmp_path / "net.data"
    answers = []
    for number in (1, 2):
        weights = {"w": np.full((8, 512), number, np.float32)}
        node = onnx_file.node("MatMul", ["x", "w"], "y")
        onnx_file.write(path, onnx_file.graph([node], weights, {"x": ("n", 8)}, {"y": ("n", 512)}, data=data))
        answers.append(onnx(str(path), share=True)(np.ones((1, 8), np.float32))[0][0, 0])

    assert answers == [8, 16]
    assert len(entries(kept_weights)) == 2


def test_a_damaged_file_is_told_and_made_anew(onnxruntime, kept_weights, caplog):
    expected = read(onnx(LARGE))
    (kept,) = kept_weights.glob("onnx-*/weights.bin")
    kept.write_bytes(kept.read_bytes()[:1000])

    np.testing.assert_array_equal(read(onnx(LARGE)), expected)
    (record,) = caplog.records
    assert record.getMessage().startswith("weights of PP-OCRv6_rec_small.onnx are not shared: ")
    np.testing.assert_array_equal(read(onnx(LARGE)), expected)
    assert len(caplog.records) == 1


def test_where_nothing_can_be_kept_the_model_runs_and_it_is_told(onnxruntime, kept_weights, caplog):
    kept_weights.parent.write_text("a file where the folder should be")

    assert onnx(CLASSIFIER, share=True)(np.zeros((1, 3, 48, 192), np.float32))[0].shape == (1, 2)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "are not shared: " in record.getMessage()


def test_a_setting_that_is_neither_off_nor_a_folder_is_refused(onnxruntime, monkeypatch):
    monkeypatch.setenv("REGRAIN_WEIGHTS", "yes")

    with pytest.raises(SpecError, match="REGRAIN_WEIGHTS must be"):
        onnx(CLASSIFIER)
