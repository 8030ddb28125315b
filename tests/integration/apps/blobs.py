"""Bytes in, more bytes out: what fills shared memory."""

from regrain import App

app = App("blobs")


@app.stage()
def repeat(data: bytes, times: str) -> bytes:
    return data * int(times)


@app.stage()
def turn(data: bytes) -> bytes:
    return data[::-1]


@app.flow
def blob(data: bytes, times: str = "1") -> bytes:
    return turn(repeat(data, times))
