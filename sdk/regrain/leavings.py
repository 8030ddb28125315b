"""What processes leave behind that led a group and have ended: whoever is still in it ends, too.

First by SIGTERM, so that programs clean up, and multiprocessing's tracker removes shared memory that nobody else will.
Whoever is there after GRACE is killed. Zombies count until somebody reaps them, which is up to their new parent.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

GRACE = 1.0
"""Seconds that the rest of a group has to end after SIGTERM."""
LOOK = 0.02
"""Seconds between two looks. Nobody else can have the number of a group in which there was somebody so lately."""
PIDFD_SIGNAL_PROCESS_GROUP = 4
"""Has a pidfd stand for the group that its process led, which may have been reaped; from Linux 6.9 on."""


class Leavings:
    """Groups whose leaders have ended, until nobody is left in them."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def end(self, leader: int, now: float) -> None:
        """Begin to end what a process has left that has just ended; before it is reaped its number is nobody else's."""
        reach(leader, signal.SIGTERM)
        self._until[leader] = now + GRACE

    def look(self, now: float) -> bool:
        """Kill whoever has had the time to end; return whether to look again in LOOK seconds. Leaders are reaped."""
        for leader, until in list(self._until.items()):
            is_over = now >= until
            if not reach(leader, signal.SIGKILL if is_over else 0) or is_over:
                del self._until[leader]
        return bool(self._until)


def reach(group: int, number: int) -> bool:
    """Send a signal to a group, 0 for none; return whether anybody is in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # none but those that have become another user
        return True
    return True


def kill_group(pidfd: int) -> None:
    """Kill the group that a process leads or led; before Linux 6.9 only as long as that is not reaped."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        return
    except OSError:  # an older kernel
        leader = _unreaped(pidfd)
        if leader > 0:
            reach(leader, signal.SIGKILL)


def _unreaped(pidfd: int) -> int:
    """Return the number of a process as it is here, which nobody else can have now; 0 or -1 if there is none."""
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.removeprefix("Pid:")) for line in lines if line.startswith("Pid:")), 0)
