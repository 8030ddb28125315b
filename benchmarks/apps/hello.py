"""One stage that greets: what is left is the front."""

from regrain import App

app = App("hello")


@app.stage()
def greet(body: bytes) -> dict[str, str]:
    return {"hello": body.decode()}


@app.flow
def hello(body: bytes) -> dict[str, str]:
    return greet(body)
