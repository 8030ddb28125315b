"""The least that granian can serve: an RSGI app that reads the body and answers with it."""


class Bare:
    async def __rsgi__(self, scope, protocol) -> None:
        body = await protocol()
        protocol.response_bytes(200, [("content-type", "application/json")], b'{"hello": "' + body + b'"}')


app = Bare()
