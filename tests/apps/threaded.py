"""Starts a thread at import, so that its process must not be forked."""

import threading

from regrain import App

threading.Thread(target=threading.Event().wait, daemon=True).start()
app = App("threaded")


@app.stage()
def double(number: int) -> int:
    return 2 * number


@app.flow
def run(number: int) -> int:
    return double(number)
