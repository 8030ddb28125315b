"""Two small boards in shared memory, for what must be seen while the other side is busy.

The cancel board has a byte per call slot that the front sets when nobody waits for the call any more; a stage may look
at it in the middle of its work. On the progress board a replica notes which stage it runs and since when, so that the
front can tell one that hangs, and which run it began last, so that the front can tell whom a death is to be laid to.
"""

from __future__ import annotations

import struct

BOARD = 4096
"""Bytes of a board: so many call slots, the first of which stands for none."""
PROGRESS = struct.Struct("<id")
"""The progress board: place of the running stage in the graph (IDLE: none), and since when (monotonic seconds)."""
BEGUN = struct.Struct("<q")
"""Beside it, at BEGUN_AT: the number of the run that was begun last (0: none)."""
BEGUN_AT = 16
IDLE = -1
