import os
import pty
import sys

import msgspec
import pytest

from regrain_watchdog.cli.admin import Adapting, GroupStatus, LoadStatus, Objective, Replica, Status
from regrain_watchdog.cli.status import groups, summary
from regrain_watchdog.cli.statusline import Live, Plain, parts

STATUS = Status(
    app="ocr",
    state="ready",
    grain="decode | crop",
    version="0.1.0",
    pid=7,
    uptime=95.0,
    ports={"http": 8080, "metrics": 8081, "admin": None},
    groups=[
        GroupStatus(
            name="decode",
            stages=["decode"],
            queue=3,
            replicas=[Replica(pid=8, state="ready"), Replica(pid=9, state="starting")],
            max_size=8,
            max_wait=0.005,
        )
    ],
    load=LoadStatus(window=10.0, requests=120, rate=12.0, p50=0.02, p95=0.05, p99=0.1, hit_rate=0.975),
    slo=Objective(latency=0.3, attainment=0.95),
    warnings=["replica 9 died"],
)


def test_of_an_app_that_adapts_it_is_said_and_that_nobody_decides_and_why():
    adapting = Adapting(predictor="verified", number=3)
    assert "adapts   by verified, 3 decisions so far" in summary(
        msgspec.structs.replace(STATUS, adapting=adapting)
    )

    ended = msgspec.structs.replace(adapting, trouble="the controller has ended")
    told = summary(msgspec.structs.replace(STATUS, adapting=ended))
    assert told[-1] == "warning  the controller has ended"


def test_the_live_line_says_how_the_app_does():
    assert parts(STATUS) == [
        "ocr",
        "12.0/s",
        "p50 20 ms  p95 50 ms  p99 100 ms",
        "hit rate 97.5 %",
        "replicas 1/2",
        "waiting 3",
        "grain decode | crop",
    ]


def test_while_it_starts_the_live_line_says_what_is_waited_for():
    starting = msgspec.structs.replace(
        STATUS, state="starting", warnings=["no replica of decode yet"], uptime=3.0
    )

    assert parts(starting) == ["ocr", "3 s", "no replica of decode yet"]


def test_a_plain_view_keeps_to_what_is_said():
    lines: list[str] = []

    with Plain(lines.append) as view:
        view.show(STATUS)
        view.say("regrain: ready")

    assert lines == ["regrain: ready"]


def test_a_view_that_nobody_reads_says_nothing_and_raises_nothing(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        for _ in range(2):
            Plain().say("regrain: draining")


def test_a_line_that_cannot_be_encoded_is_lost_alone(monkeypatch, tmp_path):
    path = tmp_path / "out"
    with path.open("w", encoding="latin-1") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        view = Plain()
        for text in ("first", "\u2264 8", "last"):
            view.say(text)

    assert path.read_text() == "first\nlast\n"


def test_what_is_said_while_a_pipe_is_full_is_lost_and_what_comes_later_is_not(monkeypatch):
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with open(writer, "w") as stdout, open(reader, "rb", buffering=0) as read:
        monkeypatch.setattr(sys, "stdout", stdout)
        view = Plain()
        view.say("x" * (1 << 20))
        while read.read(1 << 16):
            pass
        view.say("last")

        assert read.read(1 << 20).endswith(b"last\n")


def test_a_plain_view_says_once_what_a_slow_start_waits_for():
    lines: list[str] = []
    view = Plain(lines.append)

    for uptime, waits in ((1.0, "decode, crop"), (3.0, "decode, crop"), (4.0, "decode, crop"), (5.0, "crop")):
        view.show(msgspec.structs.replace(STATUS, state="starting", warnings=[waits], uptime=uptime))

    assert lines == ["regrain: decode, crop", "regrain: crop"]


def test_a_live_view_shows_both(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")

    with Live() as view:
        view.say("regrain: [ready]")
        for _ in range(9):
            view.show(STATUS)

    out = capsys.readouterr().out
    assert "regrain: [ready]\n" in out
    assert out.count("hit rate 97.5 %") == 2  # once when it was new, once when the view ends


def test_a_live_view_whose_terminal_is_gone_shows_nothing_and_raises_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal, end = pty.openpty()
    with open(end, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with Live() as view:
            os.close(terminal)
            view.say("regrain: draining")
            view.show(STATUS)


@pytest.mark.parametrize(
    "line",
    [
        "ocr 0.1.0  ready, up 95 s, pid 7",
        "grain    decode | crop",
        "load     120 requests in the last 10 s, 12.0/s",
        "latency  p50 20 ms, p95 50 ms, p99 100 ms",
        "hit rate 97.5 %, objective 95.0 % within 300 ms",
        "ports    http 8080, metrics 8081",
        "warning  replica 9 died",
    ],
)
def test_the_summary_has_a_line_for_each_matter(line):
    assert line in summary(STATUS)


def test_replicas_are_counted_by_state():
    table = groups(STATUS)

    assert [list(column.cells) for column in table.columns] == [
        ["decode"],
        ["1 ready, 1 starting"],
        ["3"],
        ["≤ 8, 5 ms"],
    ]


def test_a_crash_loop_is_told_beside_its_group_and_once_in_a_plain_view():
    lines: list[str] = []
    group = msgspec.structs.replace(STATUS.groups[0], state="crash-loop", replicas=[])
    looping = msgspec.structs.replace(
        STATUS, state="crash-loop", groups=[group], warnings=["crash-loop: ..."]
    )
    view = Plain(lines.append)

    view.show(looping)
    view.show(looping)

    assert lines == ["regrain: crash-loop: ..."]
    assert list(groups(looping).columns[1].cells) == ["none, crash-loop"]
