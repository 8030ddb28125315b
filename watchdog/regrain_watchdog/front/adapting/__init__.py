"""The front's side of adaptive granularity: what it notes of the load, and its link to the controller's process."""
