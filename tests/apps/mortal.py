"""Stages that end their process, or stand still, where the request says so."""

import os
import signal
import socket
import time
from pathlib import Path

from regrain import App

app = App("mortal")
frail = App("frail")
once = App("once")


def do(what: str) -> str:  # noqa: C901 - a list of cases
    """Do what a request asks for; the answer is what it asked."""
    act, _, path = what.partition(" ")
    match act:
        case "die":
            os._exit(7)
        case "note":
            with Path(path).open("a") as file:
                file.write("ran\n")
            os._exit(7)
        case "first" if not Path(path).exists():  # dies unless somebody has been here before
            Path(path).touch()
            os._exit(7)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            time.sleep(float(path))
        case "gate":  # runs until somebody has put a file there
            while not Path(path).exists():
                time.sleep(0.002)
        case "garbage" | "close":
            spoil(act)
        case "fill":
            return str(len(bytearray(int(path))))
    return what


def spoil(act: str) -> None:
    """Send garbage to whoever is at the other end of our sockets, or close them."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family != socket.AF_UNIX:
                    continue
                if act == "garbage":
                    sock.send(b"\x07garbage" * 1000)
                else:
                    sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue


@app.batched(max_size=8, max_wait=0.05)
def risky(whats: list[str]) -> list[str]:
    return [do(what) for what in whats]


@app.flow
def run(what: str) -> str:
    return risky(what)


class Model:
    """Cannot be loaded while a file is there."""

    def __init__(self) -> None:
        if Path(os.environ["MORTAL_GATE"]).exists():
            os._exit(7)

    def __call__(self, what: str) -> str:
        return do(what)


model = frail.stage()(Model)


@frail.flow
def run_frail(what: str) -> str:
    return model(what)


@once.stage(idempotent=False)
def pay(what: str) -> str:
    return do(what)


@once.flow
def run_once(what: str) -> str:
    return pay(what)
