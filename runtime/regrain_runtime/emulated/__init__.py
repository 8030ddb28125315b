"""A GPU that is not there: how long its kernels take, told from measurements and carried out as timed holds.

The rule of this room: it is the world, not a model of it. What is in here (measured points, jitter, drift,
interference) decides how long an emulated kernel takes; whoever predicts that may only measure it, as on a
real GPU. So nothing outside the runtime imports it, and lint-imports checks that the watchdog does not.
"""
