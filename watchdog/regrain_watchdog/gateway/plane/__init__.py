"""The gateway's front: one event loop serves all functions, whatever becomes of the control plane."""
