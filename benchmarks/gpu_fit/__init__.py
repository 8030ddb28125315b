"""Fit T(batch, share) to what was measured of each model, and say how far off it is where it was not fitted."""
