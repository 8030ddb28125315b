"""HTTP/1.1 on the front's own loop: httptools (llhttp) parses, what is here bounds.

Every connection has limits in bytes and in time for all that its peer can do or leave undone. Requests are
answered in the order in which they came; a request that a parser in front of us could read differently is refused.
"""
