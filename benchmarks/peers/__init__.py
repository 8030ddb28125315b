"""The same small workloads on other servers, each in its own idiom, beside ours.

A sanity check and no contest: three processes' worth of stages that do little, on one machine, over loopback.
No peer's code is kept here, only what a user of it would write.
"""
