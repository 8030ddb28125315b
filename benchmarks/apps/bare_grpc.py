"""The least that grpc.aio can serve: a method that answers with the bytes it got. Run with a port."""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop

PATH = "/bare.Echo/Echo"


async def echo(message: bytes, _context: object) -> bytes:
    return message


async def serve(port: int) -> None:
    server = grpc.aio.server()
    service, method = PATH[1:].split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
