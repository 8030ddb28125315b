"""Asynchronous invocations: kept on disk before they are accepted, run later, tried again, and called back."""
