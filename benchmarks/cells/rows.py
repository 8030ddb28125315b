"""The rows of cells, and which of them tell of the machine more than of the app: those that it disturbed.

The rule was set before its outcome was known: while a cell on emulated GPUs ran the whole machine was busy with more
than BUSIEST cores, or the load generator took its requests up more than LATEST late at the 99th percentile. The real
app's cells use all cores there are, so those go by lateness alone.
"""

from __future__ import annotations

from benchmarks.cells.pipelines import OCR
from benchmarks.record import Record

CELL, DISTURBED = "cell", "disturbed"
BUSIEST = 1.2
"""Cores, of the whole machine, as `busy_cores` of a row has them; `yielding_cores` of idle priority may be beside."""
LATEST = 2.5
"""Milliseconds, as `late_p99_ms` of a row has them."""


def classified(row: Record) -> Record:
    """Return a row with its kind by the rule, whatever it was written down as; one that is of no cell as it is."""
    if row["kind"] not in {CELL, DISTURBED}:
        return row
    busy = 0.0 if row["pipeline"] == OCR.name else float(str(row.get("busy_cores", 0.0)))
    is_disturbed = busy > BUSIEST or float(str(row["late_p99_ms"])) > LATEST
    return {**row, "kind": DISTURBED if is_disturbed else CELL}
