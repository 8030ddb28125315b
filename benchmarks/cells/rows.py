"""The rows of cells, and which of them tell of the machine more than of the app: those that it disturbed.

The rule was set before its outcome was known: while a cell on emulated GPUs ran the whole machine was busy with more
than BUSIEST cores, or the load generator took its requests up more than LATEST late at the 99th percentile. The real
app's cells use all cores there are, the generator's too, and its objectives are of half a second: those go by lateness
alone, and what is LATE_PART of the objective late is not too late. (That was added when one of them had been run.)
"""

from __future__ import annotations

from benchmarks.cells.pipelines import OCR
from benchmarks.record import Record

CELL, DISTURBED = "cell", "disturbed"
BUSIEST = 1.2
"""Cores, of the whole machine, as `busy_cores` of a row has them; `yielding_cores` of idle priority may be beside."""
LATEST = 2.5
"""Milliseconds, as `late_p99_ms` of a row has them."""
LATE_PART = 0.01
"""Of the real app's objective."""


def classified(row: Record) -> Record:
    """Return a row with its kind by the rule, whatever it was written down as; one that is of no cell as it is."""
    if row["kind"] not in {CELL, DISTURBED}:
        return row
    is_real = row["pipeline"] == OCR.name
    busy = 0.0 if is_real else float(str(row.get("busy_cores", 0.0)))
    latest = max(LATEST, LATE_PART * float(str(row["slo_ms"]))) if is_real else LATEST
    is_disturbed = busy > BUSIEST or float(str(row["late_p99_ms"])) > latest
    return {**row, "kind": DISTURBED if is_disturbed else CELL}
