"""`python -m regrain_watchdog.cli`: the command where it is not on the PATH, and for `run --reload`."""

from regrain_watchdog.cli.main import main

main()
