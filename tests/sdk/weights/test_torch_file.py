import subprocess
import sys
import warnings

import numpy as np
import pytest

from regrain.weights.device import current_lender, lending
from regrain.weights.store import Store
from regrain.weights.torch_file import lend, share

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'regrain[torch]'")


class Tied(torch.nn.Module):
    """Two layers on one storage, a view of it in other strides, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(64, 64, bias=False)
        self.second = torch.nn.Linear(64, 64, bias=False)
        self.second.weight = self.first.weight
        self.turned = torch.nn.Parameter(self.first.weight.data.t())
        self.register_buffer("scale", torch.arange(64, dtype=torch.float64))

    def forward(self, x):
        return self.second(self.first(x)) @ self.turned * self.scale


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "kept")


@pytest.fixture
def tied():
    torch.manual_seed(1)
    return Tied().eval().requires_grad_(False)


class Holder:
    """Stands for a device: a copy of each file, by key."""

    device = "cpu"

    def __init__(self):
        self.held = {}

    def borrow(self, key, nbytes, file):
        if key not in self.held:
            self.held[key] = np.fromfile(file(), np.uint8)
        assert len(self.held[key]) == nbytes
        return self.held[key]


def files(store):
    return sorted(store.root.glob("torch-*/weights.bin"))


def test_a_module_gives_the_same_from_the_file(store, tied):
    x = torch.rand(3, 64)
    expected = tied(x)

    assert share(tied, store, least=0)

    assert torch.equal(tied(x), expected)
    assert tied.first.weight is tied.second.weight
    assert tied.turned.untyped_storage().data_ptr() == tied.first.weight.untyped_storage().data_ptr()
    (file,) = files(store)
    assert file.stat().st_size == 64 * 64 * 4 + 64 * 8


def test_modules_that_hold_the_same_share_a_file(store):
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        share(torch.nn.Linear(64, 64), store, least=0)

    assert len(files(store)) == 2


def test_what_is_mapped_already_is_left_alone(store, tied):
    share(tied, store, least=0)

    assert not share(tied, store, least=0)


def test_a_small_module_is_left_alone(store, tied):
    assert not share(tied, store)
    assert not store.root.exists()


def test_what_a_module_writes_into_its_weights_stays_its_own(store, tied):
    share(tied, store, least=0)
    before = files(store)[0].read_bytes()

    tied.first.weight.zero_()

    assert tied(torch.rand(1, 64)).count_nonzero() == 0
    assert files(store)[0].read_bytes() == before


def test_numbers_of_all_kinds_keep_their_bits(store):
    kinds = (torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.complex64, torch.int64)
    module = torch.nn.Module()
    for kind in kinds:
        module.register_buffer(f"of_{str(kind).partition(chr(46))[2]}", torch.arange(1000).to(kind))
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}

    assert share(module, store, least=0)

    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())


def test_torchscript_is_moved_as_well(store, tied, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is, and apps have it
        torch.jit.trace(tied, (torch.rand(1, 64),)).save(tmp_path / "net.ts")
        module = torch.jit.load(tmp_path / "net.ts")
    x = torch.rand(3, 64)

    assert share(module, store, least=0)
    assert not share(module, store, least=0)

    assert torch.equal(module(x), tied(x))


def test_what_lies_elsewhere_or_is_not_there_yet_is_left_alone(store):
    module = torch.nn.Sequential(torch.nn.Linear(8, 8, device="meta"), torch.nn.LazyLinear(8))

    assert not share(module, store, least=0)


FORKING = """
import os, sys
from pathlib import Path
import torch
from regrain.weights.device import current_lender, lending
from regrain.weights.store import Store
from regrain.weights.torch_file import lend, share

before = torch.nn.Linear(1024, 1024)
if os.fork() == 0:
    after = torch.nn.Linear(1024, 1024)
    print([share(module, Store(Path(sys.argv[1]))) for module in (before, after)], flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.process
def test_what_was_built_before_the_fork_is_shared_by_it_and_left_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[False, True]\n"


def test_lent_parameters_give_the_same_and_lie_in_the_devices_memory_alone(store, tied):
    x, holder = torch.rand(3, 64), Holder()
    expected = tied(x)

    assert lend(tied, store, holder, least=0)

    assert torch.equal(tied(x), expected)
    [held] = holder.held.values()
    assert tied.first.weight.untyped_storage().data_ptr() == held.ctypes.data
    assert tied.turned.untyped_storage().data_ptr() == held.ctypes.data
    assert tied.scale.untyped_storage().data_ptr() != held.ctypes.data


def test_modules_that_hold_the_same_are_lent_the_same_and_only_the_first_writes_a_file(store):
    holder = Holder()
    modules = []
    for _ in range(2):
        torch.manual_seed(1)
        modules.append(torch.nn.Linear(64, 64))
        lend(modules[-1], store, holder, least=0)
        for file in files(store):
            store.drop(file.parent.name)

    first, second = modules
    assert len(holder.held) == 1
    assert first.weight.data_ptr() == second.weight.data_ptr()
    assert files(store) == []


def test_lent_weights_may_come_from_a_mapped_file(store, tmp_path):
    torch.save(torch.nn.Linear(64, 64).state_dict(), tmp_path / "net.pt")
    module = torch.nn.Linear(64, 64)
    module.load_state_dict(torch.load(tmp_path / "net.pt", mmap=True), assign=True)
    holder = Holder()

    assert lend(module, store, holder, least=0)
    assert len(holder.held) == 1


def test_small_modules_and_those_without_parameters_are_not_lent(store):
    assert not lend(torch.nn.Linear(64, 64), store, Holder())
    assert not lend(torch.nn.ReLU(), store, Holder(), least=0)


def test_a_lender_is_known_within_its_block_alone():
    holder = Holder()
    with lending(holder):
        assert current_lender() is holder
    assert current_lender() is None
