"""What is forked here can be ended, and ends with those who forked it."""

import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.process

PRELUDE = """
import atexit, os, signal, sys
from multiprocessing import get_context
from regrain_runtime import forks

Process = get_context("fork").Process


def send_itself(number):
    os.kill(os.getpid(), number)


def in_a_replica(work):
    sys.stdout.flush()
    if forks.fork():
        return os.waitstatus_to_exitcode(os.wait()[1])
    forks.begin()
    work()
    forks.end(0)
"""


def ran(script: str) -> list[str]:
    """Return the lines that a process prints which has left signals to the front."""
    program = f"{PRELUDE}\nforks.leave_signals_to_the_front()\n{dedent(script)}"
    return subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=60, text=True
    ).stdout.splitlines()


def test_sigterm_ends_what_a_replica_forks_and_passes_the_replica_by():
    script = """
        def work():
            send_itself(signal.SIGTERM)
            child = Process(target=signal.pause)
            child.start()
            child.terminate()
            child.join()
            send_itself(signal.SIGTERM)
            print(child.exitcode)

        print(in_a_replica(work))
    """

    assert ran(script) == ["-15", "0"]


def test_an_interrupt_passes_by_what_a_replica_forks():
    script = """
        def work():
            child = Process(target=send_itself, args=(signal.SIGINT,))
            child.start()
            child.join()
            print(child.exitcode)

        print(in_a_replica(work))
    """

    assert ran(script) == ["0", "0"]


def test_what_a_replica_has_registered_for_its_exit_runs_and_nothing_of_its_parents():
    script = """
        atexit.register(os.write, 1, b"parent\\n")
        print(in_a_replica(lambda: atexit.register(os.write, 1, b"replica\\n")))
    """

    assert ran(script) == ["replica", "0", "parent"]


def test_children_that_do_not_end_are_killed_with_their_replica_and_the_parents_are_not():
    script = """
        forks.GRACE = 0.1
        other = Process(target=signal.pause)
        other.start()
        reader, writer = os.pipe()

        print(in_a_replica(lambda: Process(target=signal.pause).start()))
        os.close(writer)
        print(os.read(reader, 1))  # once all who had it are gone
        print(other.is_alive())
        other.terminate()
    """

    assert ran(script) == ["0", "b''", "True"]


def test_it_ends_also_where_nothing_can_be_written_any_more():
    script = """
        def work():
            reader, writer = os.pipe()
            os.close(reader)
            sys.stdout = os.fdopen(writer, "w")
            print("nobody reads this")

        print(in_a_replica(work))
    """

    assert ran(script) == ["0"]
