"""What stages print goes where it is read, and nowhere once nobody reads it any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINTS = """
import os
import sys
from pathlib import Path

from regrain_runtime import output

output.outlive_readers()
stream = getattr(sys, sys.argv[1])
print("read", file=stream, flush=True)
input()
for _ in range(3):
    print("not read" * 4096, file=stream, flush=True)
os.write(stream.fileno(), b"nor this")
print("left in the buffer", end="", file=stream)
Path(sys.argv[2]).write_text("survived")
"""


@pytest.mark.process
@pytest.mark.parametrize("flags", [[], ["-u"]], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_is_printed_and_nobody_reads_any_more_is_dropped(
    name: str, flags: list[str], tmp_path: Path
) -> None:
    end = tmp_path / "end"
    reads, writes = os.pipe()
    command = [sys.executable, *flags, "-c", PRINTS, name, str(end)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **{name: writes}) as process:
        os.close(writes)
        with os.fdopen(reads) as pipe:
            assert pipe.readline() == "read\n"
        process.communicate("\n", timeout=60)

    assert process.returncode == 0
    assert end.read_text() == "survived"
