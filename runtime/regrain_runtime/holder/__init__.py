"""Weights once per GPU: a process that holds them in the device's memory, and the replicas that map them.

The holder allocates, copies from the CPU store's files and hands out handles. It never runs a kernel, so it has little
to die of; if it does die, those that mapped its memory end as well (docs/decisions/0015-weights-once-per-gpu.md).
"""
