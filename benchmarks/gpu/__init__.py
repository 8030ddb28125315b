"""What only a GPU can tell: whether lanes are disjoint, what sharing costs, when memory is free, what MPS allows.

Each check is a process of its own, since what one does to CUDA no other may inherit. None changes the GPU's settings:
no compute mode, no clocks, no MIG; none injects a fault.
"""
