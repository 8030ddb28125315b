"""A request of the gateway's own, and its response as a value."""

import asyncio

from regrain_watchdog.gateway.plane.inside import Inside


def test_a_response_in_pieces_is_kept_up_to_one_byte_more_than_may_be() -> None:
    async def scenario() -> Inside:
        inside = Inside(b"sent", 5)
        assert inside.arrived() == await inside() == b"".join([data async for data in inside]) == b"sent"
        stream = inside.response_stream(201, [("x-a", "b")])
        for piece in (b"abc", b"def", b"ghi"):
            await stream.send_bytes(piece)
        return inside

    inside = asyncio.run(scenario())

    assert (inside.status, inside.headers, inside.body) == (201, [("x-a", "b")], b"abcdef")


def test_text_is_a_response_too() -> None:
    inside = Inside(b"", 5)
    inside.response_str(200, [], "é")

    assert (inside.status, inside.body) == (200, "é".encode())
