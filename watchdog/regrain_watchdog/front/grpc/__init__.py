"""Calls over gRPC: the Open Inference Protocol, an app's own Invoke, health and reflection.

Imported only where it is served, after the app's port is open: grpc costs every start tenths of a second
otherwise, and a front without it nothing.
"""
