"""The command line: one file per verb. It wires the other rooms together, and nobody imports it."""
