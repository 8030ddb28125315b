"""Measuring what an app's stages cost, and fitting it."""
