"""Tell this machine's own addresses from others, by their text alone: names may mean anything."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

LOCALHOST = "localhost"


def is_address(host: str) -> bool:
    """Whether a host is localhost or an IP address."""
    try:
        return host == LOCALHOST or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    return is_address(host) and (host == LOCALHOST or ipaddress.ip_address(host).is_loopback)


def names_loopback(place: str) -> bool:
    """Whether only this machine can reach a URL, or what a Host header says."""
    try:
        return is_loopback(urlsplit(place if "//" in place else f"//{place}").hostname or "")
    except ValueError:  # brackets that do not close
        return False
