"""Sharing a GPU among the functions of a node: who may use how much of it, when.

The arbiter decides: pure state machines over the time that is given (arbiter, line, entitlement, ledger, account,
sharing; lint-imports holds them to it). Around it the server keeps clocks, sockets and processes.
"""
