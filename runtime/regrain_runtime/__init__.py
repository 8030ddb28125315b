"""One replica of a function: the process in which the stages of a user run. Never part of the front."""
