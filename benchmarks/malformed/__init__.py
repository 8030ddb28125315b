"""What a hostile caller, or a hostile replica, sends; each made from a seed and sent to a real server."""

BOUND = 15.0
"""Seconds in which whatever was sent must have come to an end; the servers' own limits are set to about a second."""
HUNG = "hung"
