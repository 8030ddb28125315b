"""The data path: one event loop that takes requests, hands them to replicas and answers. Imports no user code."""
