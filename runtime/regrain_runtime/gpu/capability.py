"""What each way of sharing a GPU can claim, written down, so that no name has to imply it.

`regrain doctor` prints these records, and one conformance suite holds every backend to its own. The claims are
those of NVIDIA's documentation and of what others measured; `verified` says whether this code was seen to keep
them on a GPU, and on which day. An empty one means: not yet.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Capability(Struct, frozen=True, kw_only=True):
    """The claims of a backend.

    Attributes:
        name: as it is configured.
        shares: what it divides among functions, in a few words.
        concurrent: whether kernels of several functions run at the same time.
        disjoint: whether they then run on different SMs.
        reserves: whether what one function is given is kept from the others: its turn ("in time"), its SMs as long
            as everything in the process runs in lanes ("in lanes"), or its SMs whatever the others do ("in space").
        hard_memory: whether an allocation over the share's memory fails, whoever makes it.
        fault_isolated: whether the others go on after one function's kernel faults.
        bandwidth_isolated: whether memory bandwidth and L2 cache are divided as well.
        resize: how a share changes: in a running process ("live"), with another replica ("new worker"), or not.
        unit: the steps that a share comes in.
        verified: the day on which it was verified on hardware, and the hardware; "" for not verified.
    """

    name: str
    shares: str
    concurrent: bool
    disjoint: bool
    reserves: Literal["no", "in time", "in lanes", "in space"]
    hard_memory: bool
    fault_isolated: bool
    bandwidth_isolated: bool
    resize: Literal["live", "new worker", "no"]
    unit: str
    verified: str = ""


LEASE = Capability(
    name="lease",
    shares="turns on the whole GPU",
    concurrent=False,
    disjoint=False,
    reserves="in time",
    hard_memory=False,
    fault_isolated=True,
    bandwidth_isolated=False,
    resize="live",
    unit="a turn",
)
"""Processes of their own, one at a time: a fault ends its process alone, and nothing of the device is divided."""

GREEN = Capability(
    name="green",
    shares="SMs between the stages of one process",
    concurrent=True,
    disjoint=True,
    reserves="in lanes",
    hard_memory=False,
    fault_isolated=False,
    bandwidth_isolated=False,
    resize="live",
    unit="8 SMs (compute capability 9.0 and later), 4 (8.x), 2 (7.x), 1 (6.x)",
)

MPS = Capability(
    name="mps",
    shares="per cent of the SMs between processes",
    concurrent=True,
    disjoint=False,
    reserves="no",
    hard_memory=True,
    fault_isolated=False,
    bandwidth_isolated=False,
    resize="new worker",
    unit="1 % of the SMs, rounded down by the driver",
)

MIG = Capability(
    name="mig",
    shares="slices that an administrator has cut",
    concurrent=True,
    disjoint=True,
    reserves="in space",
    hard_memory=True,
    fault_isolated=True,
    bandwidth_isolated=True,
    resize="no",
    unit="an existing instance",
)

EMULATED = Capability(
    name="emulated",
    shares="SMs of a GPU that is not there, by lease",
    concurrent=True,
    disjoint=True,
    reserves="in time",
    hard_memory=True,
    fault_isolated=True,
    bandwidth_isolated=False,
    resize="live",
    unit="1 SM",
)
"""Carried out in regrain_runtime.emulated. There is no hardware to verify it on: its kernels are timed holds,
its memory a sum."""

CAPABILITIES = (LEASE, GREEN, MPS, MIG, EMULATED)
