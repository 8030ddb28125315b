"""Observing a device, through a library with NVML's names."""

# ruff: noqa: N802 - the library's own names

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from regrain_watchdog.gpu.nvml import HOST, NvmlError, NvmlObserver, observers

UUID = "GPU-1"


class Library:
    """A device with processes, as nvidia-ml-py shows them."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.compute: list[tuple[int, int | None]] = []
        self.mps: list[tuple[int, int | None]] = []
        self.fails = ""

    def nvmlInit(self) -> None:
        if self.fails == "init":
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != UUID:
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        assert handle == "handle"
        if self.fails:
            raise self.NVMLError(self.fails)
        return [SimpleNamespace(pid=pid, usedGpuMemory=nbytes) for pid, nbytes in self.compute]

    def nvmlDeviceGetMPSComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=nbytes) for pid, nbytes in self.mps]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        return []


def test_each_process_is_seen_once_with_the_most_that_a_list_says():
    library = Library()
    library.compute, library.mps = [(1, 100), (2, 50), (3, None)], [(2, 70), (4, 5)]

    assert NvmlObserver(UUID, module=library).used() == {1: 100, 2: 70, 4: 5}


def test_what_the_driver_does_not_say_now_is_as_it_was_seen_last(caplog):
    library = Library()
    library.compute = [(1, 100)]
    observer = NvmlObserver(UUID, module=library)
    observer.used()
    library.fails, library.compute = "GPU is lost", []

    with caplog.at_level(logging.WARNING):
        assert [observer.used() for _ in range(3)] == [{1: 100}] * 3
    assert caplog.messages == [f"cannot observe GPU {UUID}: GPU is lost"]
    library.fails = ""
    assert observer.used() == {}


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(NvmlError, match="GPU GPU-2 cannot be observed: Not Found"):
        NvmlObserver("GPU-2", module=Library())

    library = Library()
    library.fails = "init"
    with pytest.raises(NvmlError, match="Driver Not Loaded"):
        NvmlObserver(UUID, module=library)


@pytest.fixture
def namespace(tmp_path: Path) -> Path:
    """A link that says that this process knows others by the host's numbers."""
    link = tmp_path / "pid"
    link.symlink_to(HOST)
    return link


def test_each_device_has_its_observer(namespace):
    library = Library()
    library.compute = [(1, 100)]

    (observer,) = observers([UUID], module=library, namespace=namespace)

    assert observer.used() == {1: 100}


def test_where_one_device_cannot_be_observed_none_is_and_that_is_said_once(namespace, caplog):
    assert observers([UUID, "GPU-2", "GPU-3"], module=Library(), namespace=namespace) == [None] * 3
    (said,) = caplog.messages
    assert said.endswith(": GPU GPU-2 cannot be observed: Not Found")


def test_a_container_with_process_numbers_of_its_own_observes_nothing(tmp_path, caplog):
    link = tmp_path / "pid"
    link.symlink_to("pid:[4026532000]")

    assert observers([UUID], module=Library(), namespace=link) == [None]
    assert "which this container does not share" in caplog.messages[0]


def test_a_machine_that_does_not_tell_its_namespace_observes_nothing(tmp_path):
    assert observers([UUID], module=Library(), namespace=tmp_path / "none") == [None]
