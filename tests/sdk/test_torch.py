import sys
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest

from regrain._torch import torch as served
from regrain.context import building
from regrain.errors import LoadError
from regrain.manifest import GPUSpec, StageSpec
from regrain.weights.device import lending

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'regrain[torch]'")


class TwoOutputs(torch.nn.Module):
    def forward(self, x, *, scale):
        return {"scaled": x * scale, "both": (x, [x + 1])}


@pytest.fixture(autouse=True)
def threads():
    """Torch's threads are the process's; each test gets them as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_module_serves_in_eval_and_inference_mode():
    model = served(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.9)))

    first, second = model(torch.ones(1, 2)), model(torch.ones(1, 2))

    assert first.is_inference()
    assert torch.equal(first, second)
    assert not any(weight.requires_grad for weight in model.module.parameters())


def test_a_seed_gives_every_replica_the_same_weights_and_leaves_the_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)

    models = [served(lambda: torch.nn.Linear(3, 3), seed=1) for _ in range(2)]
    other = served(lambda: torch.nn.Linear(3, 3), seed=2)

    first, second = (model.module.weight for model in models)
    assert torch.equal(first, second)
    assert not torch.equal(first, other.module.weight)
    assert torch.equal(torch.rand(1), expected)


def test_read_only_and_reversed_arrays_are_taken():
    array = np.float32([[1, 2]])[:, ::-1]
    array.flags.writeable = False

    given = served(torch.nn.Identity())(array)

    assert given.numpy().tolist() == [[2.0, 1.0]]


def test_floating_inputs_get_the_dtype_of_the_module_and_others_stay():
    model = served(torch.nn.Identity(), dtype=torch.float64)

    assert model(np.float32([1])).dtype == torch.float64
    assert model(np.int64([1])).dtype == torch.int64
    assert model("text") == "text"


def test_tensors_come_back_in_the_containers_of_the_module():
    given = served(TwoOutputs())(np.float32([1]), scale=np.float32([3]))

    assert given["scaled"].item() == 3
    assert (given["both"][0].item(), given["both"][1][0].item()) == (1, 2)


class Named(OrderedDict):
    """As the outputs of transformers' models."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Gives(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, given):
        return self.kind(left=given, right=given + 1)


@pytest.mark.parametrize("kind", [Named, Pair])
def test_what_a_module_gives_keeps_its_type_and_its_attributes(kind):
    given = served(Gives(kind))(np.float32([1]))

    assert type(given) is kind
    assert (given.left.item(), given.right.item()) == (1, 2)


def test_it_runs_on_the_cores_of_its_stage_whatever_others_set():
    with building("read", StageSpec(name="read", digest="", cpu=2.0)):
        model = served(torch.nn.Identity())
    torch.set_num_threads(1)

    model(np.float32([1]))

    assert torch.get_num_threads() == 2


def test_without_cuda_a_stage_that_asked_for_it_is_told_in_one_line(caplog):
    if torch.cuda.is_available():
        pytest.skip("torch sees CUDA here")
    with building("read", StageSpec(name="read", digest="", gpu=GPUSpec())):
        model = served(torch.nn.Identity())

    assert model.device == torch.device("cpu")
    assert [record.getMessage() for record in caplog.records] == [
        "no CUDA for torch here, on the CPU instead: stage read"
    ]


def test_a_device_that_is_not_there_is_refused_in_one_line():
    if torch.cuda.is_available():
        pytest.skip("torch sees CUDA here")

    with pytest.raises(LoadError, match=r"cannot be put on cuda: .+") as caught:
        served(torch.nn.Linear(1, 1), device="cuda")

    assert "\n" not in str(caught.value)


def test_without_torch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(LoadError, match=r"pip install 'regrain\[torch\]'"):
        served(lambda: None)


@pytest.fixture
def state(tmp_path):
    """A file with the state dict of a layer of 2 MiB."""
    torch.manual_seed(3)
    torch.save(torch.nn.Linear(512, 1024).state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


def layer(device="cpu"):
    return torch.nn.Linear(512, 1024, device=device)


def test_weights_come_from_a_file_also_into_a_module_that_has_none(state):
    expected = torch.load(state, weights_only=True)

    for device in ("cpu", "meta"):
        module = served(lambda device=device: layer(device), weights=str(state)).module

        assert torch.equal(module.weight, expected["weight"])
        assert not module.weight.requires_grad


def test_weights_take_the_numbers_of_the_module(state):
    module = served(lambda: layer().to(torch.float64), weights=str(state)).module

    assert module.weight.dtype == torch.float64


def test_weights_that_do_not_fit_are_refused_in_one_line(state):
    with pytest.raises(
        LoadError, match=r"net\.pt could not be loaded as the module's state dict: .+"
    ) as caught:
        served(lambda: torch.nn.Linear(2, 2), weights=str(state))

    assert "\n" not in str(caught.value)


def test_only_tensors_are_read_from_a_file(tmp_path):
    torch.save({"weight": print}, tmp_path / "net.pt")

    with pytest.raises(
        LoadError, match=r"net\.pt could not be loaded as the module's state dict: .*[Ww]eights.only"
    ):
        served(layer, weights=str(tmp_path / "net.pt"))


def test_what_a_file_leaves_without_memory_is_named(state):
    def build():
        module = layer("meta")
        module.register_buffer("steps", torch.zeros(3, device="meta"), persistent=False)
        return module

    with pytest.raises(LoadError, match=r"net\.pt has no 'steps': build the module on a device, not on meta"):
        served(build, weights=str(state))


def test_weights_are_shared_from_a_mebibyte_on_and_where_asked_for(kept_weights, monkeypatch):
    torch.manual_seed(4)
    x = torch.rand(2, 512)
    own = served(layer, seed=1, share=False)
    served(lambda: torch.nn.Linear(8, 8))
    assert not kept_weights.exists()

    assert torch.equal(served(layer, seed=1)(x), own(x))
    served(lambda: torch.nn.Linear(8, 8), share=True)

    assert len(list(kept_weights.glob("torch-*/weights.bin"))) == 2


def test_where_nothing_can_be_kept_the_module_runs_and_it_is_told(kept_weights, caplog):
    kept_weights.parent.write_text("a file where the folder should be")

    assert served(layer)(np.zeros((1, 512), np.float32)).shape == (1, 1024)
    (record,) = caplog.records
    assert record.getMessage().startswith("weights of a Linear are not shared: ")


class Holder:
    """Stands for a device whose memory is shared: a copy of each file, by key."""

    def __init__(self, device="cpu", refuses=False):
        self.device = device
        self.held = {}
        self._refuses = refuses

    def borrow(self, key, nbytes, file):
        if self._refuses:
            raise LoadError("there is no room")
        return self.held.setdefault(key, np.fromfile(file(), np.uint8))


def test_parameters_lie_in_the_memory_of_the_device_that_lends_and_in_the_asked_dtype(kept_weights):
    holder = Holder()
    with lending(holder):
        model = served(torch.nn.BatchNorm1d(64), dtype=torch.float16, share=True)
        private = served(torch.nn.Linear(64, 64), share=False)

    [held] = holder.held.values()
    assert held.nbytes == 2 * 64 * 2
    assert model.module.weight.dtype is torch.float16
    assert model.module.weight.data_ptr() == held.ctypes.data
    assert model(np.ones((2, 64))).shape == (2, 64)
    assert private.module.weight.untyped_storage().data_ptr() != held.ctypes.data


def test_a_device_that_lends_is_not_asked_for_modules_elsewhere(kept_weights):
    holder = Holder("cuda:0")
    with lending(holder):
        served(torch.nn.Linear(64, 64), share=True)

    assert holder.held == {}


def test_where_a_device_does_not_lend_the_module_runs_and_it_is_told(kept_weights, caplog):
    with lending(Holder(refuses=True)):
        model = served(torch.nn.Linear(2, 2), share=True)

    assert "weights of a Linear are not shared: there is no room" in caplog.text
    assert model(torch.ones(1, 2)).shape == (1, 2)
