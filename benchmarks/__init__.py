"""What the product costs, measured: every figure that the documents quote comes from a script in here.

Run them from the repository's root as modules (`python -m benchmarks.hop`); README.md says what each measures
and what to distrust.
"""
