"""What becomes of the dispatches that a dead replica held."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from regrain.errors import RequestError
from regrain.manifest import Manifest
from regrain_watchdog.front.death import Death
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.replica import Replica
from regrain_watchdog.policy.retry import Progress, progress


def bequeath(replica: Replica, reason: str, manifest: Manifest, serving: Collection[Function]) -> bool:
    """Let what a dead replica held be tried again or refused; return whether a request is found to be what kills.

    serving: the functions that can still try; what belonged to others is refused (502).
    """
    held, begun = dict(replica.holding), replica.begun()
    replica.holding.clear()
    place, order = replica.running()[0], manifest.graph.stages
    stage = order[place] if 0 <= place < len(order) else replica.home.name
    poisoned = False
    for number in sorted(held, reverse=True):  # what goes back in line first is next in line last
        dispatch = held[number]
        function = dispatch.function
        if function not in serving:
            detail = f"the replica died that ran stage {stage!r}"
            function.owner.lost(dispatch, RequestError(HTTPStatus.BAD_GATEWAY, detail, stage=stage))
            continue
        how_far = progress(number, begun)
        poisoned |= how_far is Progress.RAN and any(job.deaths for job in dispatch.jobs)
        bars = next((name for name in function.group.stages if not manifest.stage(name).idempotent), "")
        death = Death(stage=stage, detail=reason, timed_out=replica.timed_out, rerun_bars=bars)
        function.lost(dispatch, how_far, death)
    return poisoned
