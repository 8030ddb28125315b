"""`python -m regrain_runtime.holder SOCKET`: leave a holder of weights behind, for the first GPU that is seen."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from regrain_runtime.__main__ import configure_logging
from regrain_runtime.gpu.driver import CudaDriver
from regrain_runtime.holder.server import start

if __name__ == "__main__":
    configure_logging(os.environ)
    sys.exit(start(Path(sys.argv[1]), CudaDriver()))
