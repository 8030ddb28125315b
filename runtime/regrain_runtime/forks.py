"""What processes that are forked here begin and end with: replicas, and what stages fork in turn.

A stage may use multiprocessing as any script does. So what it forks can be terminated, and ends with its replica: by
the replica's hand where that ends in order, by that of its parent, who ends the rest of its group, where it is killed,
and by the kernel's where the front is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 3.0
"""Seconds that a replica has for what is to run at its exit, its threads half of that; less than the front waits."""
REAPING = 0.5
"""Seconds that children of a fork have to be dead once they were killed."""


def leave_signals_to_the_front() -> None:
    """Let an interrupt or SIGTERM that reaches the whole process group pass by.

    The front drains first and says when to stop; its end is seen at the socket. A handler and not SIG_IGN, since
    programs that a stage starts would inherit that. The front has had them blocked until now.

    What is forked from here on ends by SIGTERM again, which is how Process.terminate and Pool end it. An interrupt
    passes it by as well: a terminal sends it to all, and requests that are under way need their workers.
    """
    own = threading.local()

    def hold() -> None:
        own.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, own.mask)

    def end_by_sigterm() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()  # not before, or what came meanwhile would be lost

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=end_by_sigterm)
    _let_pass()


def fork() -> int:
    """Fork this process and leave signals to the front in both; return the child's pid, 0 in the child."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return os.fork()
    finally:
        _let_pass()


def _let_pass() -> None:
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leash(pipe: int) -> None:
    """Lead a group of processes from here on, which the kernel kills once nobody has the other end of a pipe.

    That is the front's. So what hangs, and what a stage has forked, ends with the front however that ends; and a signal
    to the front's group, as a terminal or a supervisor sends it, does not reach what requests under way still need.
    Where the system refuses any of it, as a sandbox may, this process goes on without.
    """
    os.set_inheritable(pipe, False)  # or programs would be killed once the front lets go of an ended replica
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # some terminals stop who prints and is not in their group
    held = [pipe]

    def let_go() -> None:
        while held:  # once: in forks of forks the number is another file's
            os.close(held.pop())

    os.register_at_fork(after_in_child=let_go)
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC)
    looking = select.poll()
    looking.register(pipe, 0)
    if looking.poll(0):  # it was gone before
        os.kill(os.getpid(), signal.SIGKILL)


def begin() -> None:
    """Leave to the parent of this fork what was registered there for its exit, and its own children."""
    atexit._clear()
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None:
        process._children.clear()
    if util is not None:
        atexit.register(util._exit_function)


def live(work: Callable[[], int]) -> NoReturn:
    """Do this process's work, which returns the exit code, and end."""
    status = 1
    try:
        status = work()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        end(status)


def end(status: int) -> NoReturn:
    """End this process after its threads and what was registered for its exit, as far as GRACE suffices for them.

    Pools come first, as they do not end while one of them waits. Its children end with it.
    """
    try:
        until = time.monotonic() + GRACE
        _wait_for(threading._shutdown, GRACE / 2)  # type: ignore[attr-defined]  # as an interpreter ends
        _wait_for(atexit._run_exitfuncs, until - time.monotonic())
        _end_children()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _end_children() -> None:
    """Kill and reap what multiprocessing has started; whoever inherits zombies may not know what to do with them."""
    process = sys.modules.get("multiprocessing.process")
    children = process.active_children() if process is not None else []
    for child in children:
        child.kill()
    until = time.monotonic() + REAPING
    for child in children:
        child.join(max(0.0, until - time.monotonic()))


def _wait_for(work: Callable[[], None], timeout: float) -> None:
    """Do something that an interpreter does that ends, and go on after `timeout` seconds."""
    ending = threading.Thread(target=work, daemon=True)
    ending.start()
    ending.join(timeout)
