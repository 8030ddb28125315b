"""Predictions against live runs: apps on emulated GPUs and the real OCR app, cell by cell."""
