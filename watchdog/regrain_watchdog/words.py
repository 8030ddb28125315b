"""Quantities as a reader wants them: durations, sizes, shares and ages with the right unit and digits; and plans."""

from __future__ import annotations

from regrain.plan import Group, Plan


def duration(seconds: float | None) -> str:
    """Return a duration such as "830 us", "4.2 ms", "310 ms" or "1.25 s"; "-" for None."""
    if seconds is None:
        return "-"
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if 0 < seconds < limit:
            value = seconds * factor
            return f"{_brief(value)} {unit}"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def age(seconds: float) -> str:
    """Return how long ago or how long since: "42 s", "3 min", "25 h", "4 d"."""
    for limit, factor, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{max(seconds, 0.0) / factor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def share(value: float | None) -> str:
    """Return a share of one as a percentage such as "97.5 %"; "-" for None."""
    return "-" if value is None else f"{value * 100:.1f} %"


def size(nbytes: int) -> str:
    """Return a size such as "512 MiB"; in binary units."""
    value, unit = float(nbytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{_brief(value)} {unit}"


def cores(value: float) -> str:
    """Return a number of cores: "1 core", "2 cores", "0.5 cores"."""
    return "1 core" if value == 1 else f"{value:g} cores"


def _brief(value: float) -> str:
    """Two digits at least, and no ".0"."""
    return f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:.0f}"


def configured(plan: Plan) -> str:
    """Return a plan with each group's replicas, its share of a GPU or cores, and units of a dispatch at most.

    Example: "read (2 x 0.5 GPU, ≤ 8) | say (1 x 1 core)".
    """
    return " | ".join(f"{group.name} ({_given(group)})" for group in plan.groups)


def _given(group: Group) -> str:
    batch = f", ≤ {group.max_size}" if group.max_size > 1 else ""
    if group.fluid is not None:
        return f"{group.replicas} sharing {group.fluid.share:g} GPU"
    level = f"{group.gpu.fraction:g} GPU" if group.gpu is not None else cores(group.cpu)
    return f"{group.replicas} x {level}{batch}"
