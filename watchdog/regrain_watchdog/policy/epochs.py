"""Which epochs of an app's assignment a pod holds.

Each assignment (who runs which group) has a number, the epoch, higher than all before it. A pod holds the one in force
and those before it whose requests may still be under way; what is older is over, and whoever comes with it has to ask
what is in force. A later one than its own a pod has merely not heard of yet, so that is no reason to refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

from regrain.errors import SpecError

LAST = 10**15 - 1
"""The last epoch that there may be: it has its place in every head of a request."""


class StaleError(Exception):
    """An assignment older than the one in force."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epochs of a pod. current: in force. oldest: the first that is held."""

    current: int = 0
    oldest: int = 0

    def holds(self, epoch: int) -> bool:
        """Whether requests of an epoch are served."""
        return epoch >= self.oldest

    def assigned(self, epoch: int) -> Epochs:
        """Return what is held once another one is in force, whose predecessor's requests still end here.

        The same one again changes nothing: whoever assigned it may not have heard of its success. StaleError for an
        older one, SpecError for one that is none.
        """
        if epoch > LAST:
            raise SpecError(f"an epoch is at most {LAST}, was {epoch}")
        if epoch < self.current:
            raise StaleError(f"epoch {epoch} is over, {self.current} is in force")
        return Epochs(epoch, self.oldest if epoch == self.current else self.current)

    def released(self, epoch: int) -> Epochs:
        """Return what is held once no request of an epoch before this one is under way; never less than what rules."""
        return Epochs(self.current, max(self.oldest, min(epoch, self.current)))
