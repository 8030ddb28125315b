"""Why there is no image."""

from __future__ import annotations

from regrain.errors import RegrainError


class BuildError(RegrainError):
    """A build that ends without an image; what was built before is as it was."""
