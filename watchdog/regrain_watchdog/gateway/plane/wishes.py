"""How a function wants to be served: by an annotation, a label or a variable, in this order.

The annotation (or label) of the setting `slo` is `regrain.slo`, its variable REGRAIN_SLO.
"""

from __future__ import annotations

from regrain.cards import PREFIX as EMULATED
from regrain.errors import SpecError
from regrain.units import SWITCH
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.settings import PREFIX
from regrain_watchdog.front.survey import REAL
from regrain_watchdog.gateway.spec import Deployment

WORD = "regrain."
SETTINGS = (
    "slo",
    "grain",
    "resident",
    "adapt",
    "adapt_period",
    "predictor",
    "cores",
    "gpus",
    "gpu_folder",
    "gpu_shares",
    "gpu_hang_timeout",
    "max_body",
    "body_timeout",
    "max_queue",
    "max_items",
    "max_inflight",
    "exec_timeout",
    "hang_timeout",
    "replica_memory",
    "memory",
    "start_timeout",
    "ready_path",
    "upstream_url",
)
"""Those that a function may choose. Ports, keys and files are the gateway's, and so there is no scenario."""


def config(deployment: Deployment, replicas: int) -> Config:
    """Return how to serve a function; SpecError names the setting that is wrong."""
    found = {name: text for name in SETTINGS if (text := _wish(deployment, name))}
    gpus = found.get("gpus", "")
    if gpus.startswith(EMULATED):
        allowed = f"allowed are ways of sharing this machine's: {', '.join(REAL)}"
        raise SpecError(f"gpus was {gpus!r}: a function has no emulated GPUs; {allowed}")
    return Config.from_strings({**found, "replicas": str(replicas)})


def check(deployment: Deployment) -> None:
    """Raise SpecError for a setting that is wrong, or for an annotation or label of one that a function has not."""
    for kind, given in (("annotations", deployment.annotations), ("labels", deployment.labels)):
        for word in given:
            name = word.removeprefix(WORD)
            if name != word and "/" not in word and name not in SETTINGS:  # `regrain.dev/...` are remarks
                raise SpecError(
                    f"{kind}.{word}: a function has no such setting; there are {', '.join(SETTINGS)}"
                )
    config(deployment, 1)


def _wish(deployment: Deployment, name: str) -> str:
    word = WORD + name
    return (
        deployment.annotations.get(word, "")
        or deployment.labels.get(word, "")
        or deployment.env_vars.get(PREFIX + name.upper(), "")
    ).strip()


def adapts(deployment: Deployment) -> bool:
    """Whether a function chooses its plan, and with it its replicas, by itself."""
    return bool(SWITCH.get(_wish(deployment, "adapt").lower()))
