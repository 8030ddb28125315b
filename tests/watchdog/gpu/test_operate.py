"""Asking an arbiter from outside."""

from __future__ import annotations

import resource

import pytest

from regrain.wire.lease import LeaseError
from regrain_watchdog.gpu.operate import look


def test_without_a_descriptor_for_it_nobody_answers(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(LeaseError, match="Too many open files"):
            look(tmp_path / "gpu0.sock")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
