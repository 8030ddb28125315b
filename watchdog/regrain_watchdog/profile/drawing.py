"""A profile as a picture: a panel for each stage, its milliseconds over the share of a GPU, or over the batch."""

from __future__ import annotations

from regrain_watchdog.picture.chart import Panel, Point, svg
from regrain_watchdog.policy.profile import Profile, StageProfile
from regrain_watchdog.words import cores


def draw(profile: Profile) -> str:
    """Return the picture as an SVG; each stage at the size of request for which there are most points."""
    return svg([_panel(name, stage) for name, stage in profile.stages.items()])


def _panel(name: str, stage: StageProfile) -> Panel:
    sizes = [point.size for point in stage.points]
    usual = max(sorted(set(sizes)), key=sizes.count)
    lines: dict[str, list[Point]] = {}
    for point in stage.points:
        if point.size != usual:
            continue
        if stage.on_gpu:
            line, across = f"{point.batch} at once", point.share * 100
        else:
            line, across = cores(point.share), float(point.batch)
        lines.setdefault(line, []).append((across, point.seconds * 1e3))
    ordered = dict(sorted(lines.items(), key=lambda pair: float(pair[0].split()[0])))
    over = "share of a GPU" if stage.on_gpu else "units in a call"
    return Panel(
        title=f"{name}: ms of a call over {over}, requests of {usual:g} bytes",
        lines={line: _visible(sorted(points)) for line, points in ordered.items()},
        unit="%" if stage.on_gpu else "",
    )


def _visible(points: list[Point]) -> list[Point]:
    """Return a line as it is, or a lone point as a level that leads to it."""
    return [(0.0, points[0][1]), *points] if len(points) == 1 else points
