"""What is forked here can be ended, and ends with those who forked it."""

import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.process

PRELUDE = """
import atexit, os, select, signal, subprocess, sys
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

    def live():
        work()
        return 0

    forks.live(live)


def on_a_leash(work):
    held, mine = os.pipe()

    def led():
        os.close(mine)
        forks.leash(held)
        work()

    status = in_a_replica(led)
    os.close(mine)
    return status
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
        print(in_a_replica(lambda: atexit.register(os.write, 1, b"replica\\n")), flush=True)
    """

    assert ran(script) == ["replica", "0", "parent"]


@pytest.mark.parametrize(
    "start",
    ["ThreadPoolExecutor().submit(write)", "threading.Thread(target=write).start()"],
    ids=["pool", "thread"],
)
def test_what_its_threads_are_at_is_done_before_a_replica_ends(start):
    script = f"""
        import threading, time
        from concurrent.futures import ThreadPoolExecutor

        def write():
            time.sleep(0.2)
            os.write(1, b"written\\n")

        def work():
            atexit.register(os.write, 1, b"registered\\n")
            {start}

        print(in_a_replica(work))
    """

    assert ran(script) == ["written", "registered", "0"]


def test_a_thread_that_does_not_end_holds_up_nothing_that_is_registered_for_the_exit():
    script = """
        import threading

        forks.GRACE = 1.0

        def work():
            atexit.register(os.write, 1, b"registered\\n")
            threading.Thread(target=threading.Event().wait).start()

        print(in_a_replica(work))
    """

    assert ran(script) == ["registered", "0"]


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


def test_children_that_are_killed_with_their_replica_are_no_zombies_for_others_to_reap():
    script = """
        forks.GRACE = 0.1
        reader, writer = os.pipe()

        def work():
            child = Process(target=signal.pause)
            child.start()
            os.write(writer, str(child.pid).encode())

        print(in_a_replica(work))
        print(os.path.exists("/proc/" + os.read(reader, 100).decode()))
    """

    assert ran(script) == ["0", "False"]


@pytest.mark.parametrize("ends", ["sys.exit(3)", "sys.exit()", "1 / 0"])
def test_however_a_replica_ends_its_children_end_with_it(ends):
    script = f"""
        forks.GRACE = 0.1
        sys.excepthook = lambda *_: None
        reader, writer = os.pipe()

        def work():
            Process(target=signal.pause).start()
            {ends}

        print(in_a_replica(work))
        os.close(writer)
        print(os.read(reader, 1))  # once all who had it are gone
    """

    assert ran(script) == ["3" if "3" in ends else "1", "b''"]


def test_who_lets_go_of_a_leash_ends_a_replica_that_hangs_and_all_that_it_started():
    script = """
        held, mine = os.pipe()
        reader, writer = os.pipe()
        if not forks.fork():
            os.close(mine)
            forks.leash(held)
            Process(target=signal.pause).start()
            subprocess.Popen(["sleep", "600"], pass_fds=[writer])
            os.write(writer, b"x")
            while True:
                pass
        os.close(writer)
        print(os.read(reader, 1))

        os.close(mine)

        print(os.waitstatus_to_exitcode(os.wait()[1]))
        print(os.read(reader, 1))  # once all who had it are gone
    """

    assert ran(script) == ["b'x'", "-9", "b''"]


def test_a_leash_that_nobody_holds_any_more_ends_it_at_once():
    script = """
        held, mine = os.pipe()
        os.close(mine)
        print(in_a_replica(lambda: forks.leash(held)))
    """

    assert ran(script) == ["-9"]


def test_a_signal_to_the_group_it_comes_from_passes_by_a_replica_on_a_leash_and_its_children():
    script = """
        def work():
            child = Process(target=signal.pause)
            child.start()
            os.killpg(os.getpgid(os.getppid()), signal.SIGTERM)
            print(bool(select.select([child.sentinel], [], [], 0.1)[0]))
            child.kill()

        os.setpgid(0, 0)
        print(on_a_leash(work))
    """

    assert ran(script) == ["False", "0"]


def test_a_fork_of_a_fork_keeps_a_file_that_has_the_number_of_the_leash():
    script = """
        def child():
            files = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
            if os.fork() == 0:
                os._exit(sum(os.fstat(file).st_size for file in files))
            sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))

        def work():
            one = Process(target=child)
            one.start()
            one.join()
            print(one.exitcode)

        print(on_a_leash(work))
    """

    assert ran(script) == ["0", "0"]


def test_a_program_that_a_replica_starts_is_not_on_its_leash():
    script = """
        held, mine = os.pipe()
        os.set_inheritable(held, True)  # as it comes from the front
        replica = forks.fork()
        if not replica:
            os.close(mine)
            forks.leash(held)
            os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
            os._exit(0)
        os.close(held)
        print(os.waitstatus_to_exitcode(os.waitpid(replica, 0)[1]))

        looking = select.poll()
        looking.register(mine, 0)
        print(looking.poll(0) == [(mine, select.POLLERR)])  # nobody has the other end
        os.killpg(replica, signal.SIGKILL)
    """

    assert ran(script) == ["0", "True"]


@pytest.mark.parametrize("refuses", ["os.setpgid", "fcntl.fcntl"])
def test_a_replica_starts_also_where_the_system_refuses_it_the_hold_of_its_leash(refuses):
    script = f"""
        import fcntl

        def refuse(*_):
            raise PermissionError("refused")

        {refuses} = refuse
        print(on_a_leash(lambda: print("lives")))
    """

    assert ran(script) == ["lives", "0"]


def test_a_replica_that_nobody_holds_any_more_ends_alone_where_it_leads_no_group():
    script = """
        def refuse(*_):
            raise PermissionError("refused")

        os.setpgid = refuse
        held, mine = os.pipe()
        os.close(mine)
        print(in_a_replica(lambda: forks.leash(held)))
    """

    assert ran(script) == ["-9"]


def test_a_terminal_that_stops_who_prints_in_its_background_does_not_stop_a_replica():
    script = """
        import pty, termios

        def work():
            os.write(1, b"printed")

        pid, terminal = pty.fork()
        if pid == 0:
            flags = termios.tcgetattr(1)
            flags[3] |= termios.TOSTOP
            termios.tcsetattr(1, termios.TCSANOW, flags)
            os._exit(on_a_leash(work))
        print(os.read(terminal, 100))
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """

    assert ran(script) == ["b'printed'", "0"]
