"""Open-loop load on a running app, and the report of what came of it."""
