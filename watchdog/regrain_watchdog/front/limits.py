"""Limit the memory of each replica, so that one which takes too much ends alone.

By a cgroup (version 2) where this process may make some: the kernel then counts what is resident and ends a replica
that exceeds it. Elsewhere by RLIMIT_DATA, which counts private memory as it is asked for: a stage then gets a
MemoryError and its replica lives. RLIMIT_AS would count reservations too, which CUDA makes by the terabyte; stages on a
GPU therefore get no limit of the second kind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
FRONT = "regrain-front"
REPLICA = "regrain-replica-{}"
FIRST_TO_GO = "500"
"""oom_score_adj of a replica: where the machine runs out of memory, the kernel ends one before the front."""


class Limits:
    """Gives replicas their limit.

    Args:
        memory: bytes of one replica; 0 for no limit.
        root: where cgroups are mounted.
    """

    def __init__(self, memory: int, *, root: Path = ROOT) -> None:
        self._memory = memory
        self._folder = prepared(root) if memory else None

    def apply(self, pid: int, *, on_gpu: bool) -> None:
        """Limit a replica that has just been born; a warning where that cannot be."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
        if not self._memory:
            return
        try:
            if self._folder is not None:
                self._confine(self._folder / REPLICA.format(pid), pid)
            elif not on_gpu:
                resource.prlimit(pid, resource.RLIMIT_DATA, (self._memory, self._memory))
        except (OSError, ValueError) as error:
            logger.warning("the memory of replica pid %d is not limited: %s", pid, error)

    def release(self, pid: int) -> None:
        """A replica has been reaped: its cgroup goes."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / REPLICA.format(pid)).rmdir()

    def _confine(self, folder: Path, pid: int) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "memory.max").write_text(str(self._memory), encoding="ascii")
        for name in ("memory.swap.max", "memory.oom.group"):
            with contextlib.suppress(OSError):  # a kernel without swap accounting has none
                (folder / name).write_text("0" if "swap" in name else "1", encoding="ascii")
        (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")


def obstacle(root: Path = ROOT) -> str:
    """Return why replicas cannot have cgroups of their own, in a few words; "" where they can."""
    folder = _own_folder(root)
    if folder is None:
        return "no cgroup of version 2"
    try:
        controllers = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
    except OSError:
        return "no cgroup of version 2"
    if "memory" not in controllers:
        return "its cgroup has no memory controller"
    files = (folder, folder / "cgroup.subtree_control", folder / "cgroup.procs")
    if not all(os.access(file, os.W_OK) for file in files):
        return "its cgroup is not writable"
    return ""


def prepared(root: Path = ROOT) -> Path | None:
    """Return the folder in which cgroups of replicas can be made; None where that is not possible.

    A cgroup that has children with limits has no processes of its own, so this one and those that it started move into
    a child.
    """
    reason = obstacle(root)
    folder = _own_folder(root)
    if not reason and folder is not None:
        if folder.name == FRONT:  # prepared before
            return folder.parent
        try:
            _move(folder, [os.getpid(), *_children()])
            (folder / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
        except OSError as error:
            reason = f"its cgroup cannot be divided, others share it ({error.strerror})"
        else:
            return folder
    logger.warning("replicas are limited by RLIMIT_DATA: %s", reason)
    return None


def _move(folder: Path, pids: Iterable[int]) -> None:
    (folder / FRONT).mkdir(exist_ok=True)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            (folder / FRONT / "cgroup.procs").write_text(str(pid), encoding="ascii")


def _children() -> list[int]:
    """Processes that this one has started: its zygote."""
    return [
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text(encoding="ascii").split()
    ]


def _own_folder(root: Path) -> Path | None:
    """The folder of this process' cgroup of version 2."""
    try:
        lines = OWN.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if own is None:
        return None
    folder = root / own.lstrip("/")
    return folder if (folder / "cgroup.controllers").is_file() else None
