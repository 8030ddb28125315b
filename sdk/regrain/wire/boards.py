"""Two small boards in shared memory, for what must be seen while the other side is busy.

The cancel board has a byte per call slot that the front sets when nobody waits for the call any more; a stage may look
at it in the middle of its work. On the progress board a replica notes which stage it runs and since when, so that the
front can tell one that hangs.
"""

from __future__ import annotations

import struct

BOARD = 4096
"""Bytes of a board: so many call slots, the first of which stands for none."""
PROGRESS = struct.Struct("<id")
"""The progress board: place of the running stage in the graph (IDLE: none), and since when (monotonic seconds)."""
IDLE = -1
