"""What processes that are forked here begin and end with: replicas, and what stages fork in turn.

A stage may use multiprocessing as any script does. So what it forks can be terminated, and ends with its replica.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 3.0
"""Seconds that a fork has for what is to run at its exit; less than the front waits for it."""


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


def begin() -> None:
    """Leave to the parent of this fork what was registered there for its exit, and its own children."""
    atexit._clear()
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None:
        process._children.clear()
    if util is not None:
        atexit.register(util._exit_function)


def end(status: int) -> NoReturn:
    """End this fork after what was registered in it for its exit, for which it has GRACE; its children end with it."""
    try:
        ending = threading.Thread(target=_run_exit_functions, daemon=True)
        ending.start()
        ending.join(GRACE)
        process = sys.modules.get("multiprocessing.process")
        for child in process.active_children() if process is not None else ():
            child.kill()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _run_exit_functions() -> None:
    """Do what an interpreter does that ends: pools of processes first, as these do not end while one of them waits."""
    pools = sys.modules.get("concurrent.futures.process")
    if pools is not None:
        pools._python_exit()
    atexit._run_exitfuncs()
