"""The plan of a single station, as numbers."""

import numpy as np
import pytest

from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work


def single(
    seconds: float,
    servers: int = 1,
    *,
    slo: float = 1.0,
    stage: str = "stage",
    max_size: int = 1,
    wait: float = 0.0,
    cv: float = 0.0,
) -> Model:
    rows = [[0.0], *[[seconds]] * max_size]
    station = Station(
        stages=(stage,),
        after=(),
        scope=PER_REQUEST,
        works=(Work(0, PER_REQUEST, np.array(rows), cv),),
        max_size=max_size,
        max_wait=wait,
        pool=0,
        take=1.0,
        hop=0.0,
    )
    return Model(
        stations=(station,),
        pools=(Pool(servers=servers, cards=(float(servers),)),),
        sizes=np.zeros(1),
        lists=0,
        slo=slo,
        attainment=0.95,
        answer=0.0,
    )


@pytest.fixture(scope="session")
def plan():
    """Make a plan of one station, whose calls take so many seconds however many units they are of."""
    return single
