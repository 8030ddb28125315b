"""What a function's labels say about its number of replicas, under the name that the front knows it by."""

from regrain_watchdog.policy.scale import Scaling as Bounds

__all__ = ["Bounds"]
