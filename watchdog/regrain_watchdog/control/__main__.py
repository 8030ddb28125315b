"""`python -m regrain_watchdog.control`: the controller's process, which the front starts."""

from __future__ import annotations

import argparse
import logging
import signal
import socket

from regrain_watchdog.control.process import serve


def main() -> None:
    """Decide until the front closes the socket."""
    parser = argparse.ArgumentParser(prog="python -m regrain_watchdog.control", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="socket to the front")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            one, signal.SIG_IGN
        )  # it ends with the front, which drains first, and had them blocked till now
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (one,))
    with socket.socket(fileno=options.fd) as sock:
        serve(sock)


if __name__ == "__main__":
    main()
