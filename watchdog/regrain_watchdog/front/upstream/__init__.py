"""Serve any HTTP process behind the front: WSGI apps, fprocess functions, whatever listens on a port.

The bytes of a request and of its answer pass through as they are, streamed and bounded, so this room has an HTTP
edge of its own: see docs/decisions/0007-upstreams-pass-as-bytes.md.
"""
