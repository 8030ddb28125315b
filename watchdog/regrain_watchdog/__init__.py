"""The watchdog in front of the functions: it takes requests, groups stages, batches, places and scales."""
