"""The command `regrain`: one file per verb. It wires the rooms together; nobody imports it."""
