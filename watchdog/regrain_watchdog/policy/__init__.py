"""Decisions, as pure functions of what was measured and the time given.

Nothing here reads a clock, opens a socket or logs; lint-imports checks it.
"""
