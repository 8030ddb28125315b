"""Processes that share weights of a device by its holder; the device's memory is files that all of them map."""

import ctypes
import gc
import os
import socket
import subprocess
import sys
import time

import pytest

from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.fake_memory import FakeMemory
from regrain_runtime.holder import frames
from regrain_runtime.holder.lender import Lender
from regrain_watchdog.gpu.holder import holder

pytestmark = pytest.mark.process


def until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def said(replica, word="look"):
    replica.stdin.write(f"{word}\n")
    replica.stdin.flush()
    return replica.stdout.readline().strip()


def test_replicas_find_one_holder_and_see_the_same_memory(node):
    replicas = [node.replica() for _ in range(3)]
    told = [replica.stdout.readline().split() for replica in replicas]

    assert [content for _, content in told] == ["weights."] * 3
    assert len({epoch for epoch, _ in told}) == 1
    until(lambda: len(node.holders()) == 1)
    assert node.holders() == [holder(node.path.with_suffix(".sock"))]
    assert len(node.allocations()) == 1
    assert said(replicas[0], "write") == "well"
    with node.allocations()[0].open("rb") as file:
        assert file.read(8) == b"WRITTEN."
    assert node.file.read_bytes() == node.content


def test_weights_outlive_the_replica_that_brought_them_and_go_after_the_last(node):
    first = node.replica(grace=1.0)
    epoch, _ = first.stdout.readline().split()
    second = node.replica(grace=1.0)
    assert second.stdout.readline().split() == [epoch, "weights."]

    first.kill()
    first.wait()

    assert said(second) == "well"
    assert len(node.allocations()) == 1
    second.kill()
    second.wait()
    until(lambda: not node.allocations())
    until(lambda: not node.holders())
    assert not node.path.exists()


def test_those_that_have_memory_of_a_dead_holder_are_told_and_the_next_holder_has_another_epoch(node):
    replica = node.replica()
    epoch, _ = replica.stdout.readline().split()
    [holder] = node.holders()

    node.kill(holder)

    assert said(replica) == "HolderLostError"
    after, content = node.replica().stdout.readline().split()
    assert content == "weights."
    assert after != epoch
    assert said(replica) == "HolderLostError"


def test_a_process_that_borrows_twice_maps_once_and_unmaps_after_the_last_tensor(node):
    lender = node.lender(grace=1.0)
    first, second = node.borrow(lender), node.borrow(lender)
    kept = node.borrow(lender, "kept")

    assert first is second
    assert ctypes.string_at(first.address, node.size) == node.content
    assert first.__cuda_array_interface__["data"] == (first.address, False)
    assert len(node.allocations()) == 2

    del first, second
    gc.collect()

    until(lambda: len(node.allocations()) == 1)
    lender.check()
    assert ctypes.string_at(kept.address, 8) == b"weights."


def test_a_forked_child_that_drops_its_copy_gives_nothing_back(node):
    lender = node.lender(grace=1.0)
    loans = [node.borrow(lender)]
    [kept] = node.allocations()
    child = os.fork()
    if not child:
        loans.clear()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    node.borrow(lender, "dropped after that, so freed after that")
    until(lambda: len(node.allocations()) <= 1)

    assert node.allocations() == [kept]
    assert ctypes.string_at(loans[0].address, 8) == b"weights."


def test_a_replica_that_has_nothing_takes_another_holder_as_it_comes(node):
    lender = node.lender()
    node.borrow(lender)
    gc.collect()
    [holder] = node.holders()

    node.kill(holder)

    lender.check()
    assert ctypes.string_at(node.borrow(lender).address, 8) == b"weights."


def test_a_holder_that_cannot_be_is_told_with_its_exit_code(node):
    lender = Lender(
        node.path, CudaDriver(FakeMemory(folder=node.card)), command=(sys.executable, "-c", "exit(3) #")
    )

    with pytest.raises(GpuError, match=r"no holder of weights can be started: it ended with exit code 3"):
        node.borrow(lender)


def test_who_reads_what_its_starter_says_need_not_wait_for_the_holders_end(node):
    started = subprocess.run(
        [*node.command(), str(node.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=True,
    )

    assert started.stdout == b""
    [holder] = node.holders()
    node.kill(holder)


def test_a_file_of_another_size_is_denied_and_the_rest_goes_on(node):
    lender = node.lender()

    with pytest.raises(GpuError, match=f"said to have {node.size + 1} bytes, its file has {node.size}"):
        lender.borrow("net", node.size + 1, lambda: node.file)
    assert ctypes.string_at(node.borrow(lender).address, 8) == b"weights."


def test_an_empty_file_is_denied(node, tmp_path):
    empty = tmp_path / "empty"
    empty.touch()

    with pytest.raises(GpuError, match=r"the holder of weights at .* has not net: "):
        node.lender().borrow("net", 1, lambda: empty)


def test_who_sends_no_frame_is_disconnected_and_the_others_are_served(node):
    lender = node.lender()
    loan = node.borrow(lender)
    for packet in (
        b"\x07" + frames.encode(frames.Return("net"))[1:],  # of another version
        b"\x01garbage",
        b"\x01" + b"\x93" * 4000,
        frames.encode(frames.Borrow("net", 0)),
        frames.encode(frames.Borrow("k" * 129, 1)),
        frames.encode(frames.Lent("net", 1, bytes(64), 1)),  # of the other direction
        b"x" * 8192,
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(str(node.path))
            stranger.send(packet)

            assert stranger.recv(100) == b"", packet

    lender.check()
    assert node.borrow(lender) is loan


def test_descriptors_that_come_along_are_closed(node):
    lender = node.lender()
    loan = node.borrow(lender)
    [holder] = node.holders()
    open_now = []
    with node.file.open("rb") as file:
        for _ in range(5):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.connect(str(node.path))
                socket.send_fds(stranger, [b"garbage"], [file.fileno()])
                assert stranger.recv(100) == b""
            open_now.append(len(os.listdir(f"/proc/{holder}/fd")))

    assert len(set(open_now)) == 1
    assert node.borrow(lender) is loan


def test_modules_of_two_replicas_lie_in_one_memory_until_the_stage_is_dropped(node, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setenv("REGRAIN_WEIGHTS", str(tmp_path / "kept"))
    replicas = [node.serving() for _ in range(2)]
    sums = [replica.stdout.readline() for replica in replicas]
    assert sums[0] == sums[1]
    assert [replica.stdout.readline() for replica in replicas] == ["1\n", "1\n"]
    [memory] = node.allocations()
    assert memory.stat().st_size >= 4 * (512 * 512 + 512 * 256)

    assert said(replicas[0]) == "0"
    assert node.allocations() == [memory]
    assert said(replicas[1]) == "0"

    until(lambda: not node.allocations())
