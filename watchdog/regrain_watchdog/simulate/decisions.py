"""The decisions of `policy`, compiled: the very functions that the live front runs."""

from __future__ import annotations

from regrain_watchdog.policy import admit, batch, deadline, fluid, shed
from regrain_watchdog.simulate.compiled import callable_as_is, compiled

MODULES = (admit, batch, deadline, fluid, shed)

REFRESH = deadline.REFRESH
due = compiled(batch.due)
units_together = compiled(batch.units_together)
timely = compiled(batch.timely)
may_hold = compiled(batch.may_hold)
smoothed = compiled(batch.smoothed)
fate = compiled(shed.fate)
admits = compiled(admit.admits)
wait = compiled(admit.wait)
learned = compiled(deadline.learned)
belief = compiled(deadline.belief)
safe = compiled(deadline.safe)
saved = compiled(deadline.saved)
fill_remaining = compiled(deadline.fill_remaining)
callable_as_is(fluid.card_for)
card_for = compiled(fluid.card_for)
next_up = compiled(fluid.next_up)
at_once = compiled(fluid.at_once)
switching = compiled(fluid.switching)
