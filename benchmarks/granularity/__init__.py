"""The experiment that holds adaptive granularity against every fixed one, as `protocol.toml` lays it down.

    python -m benchmarks.granularity --part core

Policies see what a profile measured (`pipelines.World.believed`) and requests that have come; what the emulated GPUs
really do (`pipelines.World.truth`) is seen by `judge` and by the oracle alone.
"""
