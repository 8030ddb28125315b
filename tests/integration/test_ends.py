"""How an app ends: by signal and by force, idle and under load. What was accepted is answered; nothing stays behind."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests


class Load:
    """Callers that ask without a pause, each over a connection of its own, until told to stop."""

    def __init__(self, served, callers=6):
        self.statuses = []
        self.refused = 0
        self._stop = threading.Event()
        self._served = served
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self):
        while not self._stop.is_set():
            try:
                self.statuses.append(self._served.call(do="x").status_code)
            except requests.ConnectionError:
                self.refused += 1
                return


HELD = """
import pathlib, sys, time
if "regrain_runtime" in sys.orig_argv:
    (pathlib.Path(__file__).parent / "starts").touch()
    time.sleep(600)
"""
"""Run by an interpreter as it starts: holds it there, long enough for whatever ends it."""


def waiting(served, note, count, until):
    """Requests that wait in a stage, until the file `note` goes."""
    note.write_text("")
    pool = ThreadPoolExecutor(count)
    asked = [pool.submit(served.call, do="wait", note=str(note)) for _ in range(count)]
    until(lambda: served.metric("http_requests_in_flight") == count, "all are accepted")
    until(lambda: list(note.parent.glob("note.*")), "one is in its stage")
    pool.shutdown(wait=False)
    return asked


def is_refused(served):
    try:
        served.connect().close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was closed while the kernel let us in
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_lets_every_accepted_request_finish(serve, until, tmp_path, number):
    """More of them than replicas, so that some still wait in the queue."""
    note = tmp_path / "note"
    acts = serve("acts.py", "--grain", "fine")
    asked = waiting(acts, note, 4, until)

    acts.signal(number)
    acts.said("regrain: draining")
    until(lambda: is_refused(acts), "new connections are refused")
    note.unlink()

    assert [(one.result().status_code, one.result().text) for one in asked] == [(200, "done")] * 4
    assert acts.ended() == 0
    assert acts.lines[-1] == "regrain: stopped"


def test_an_interrupt_of_the_whole_group_while_the_zygote_starts_prints_no_traceback(
    attempt, until, tmp_path, monkeypatch
):
    """As Ctrl-C does it; the zygote's interpreter has not come as far as any code of ours."""
    (tmp_path / "sitecustomize.py").write_text(HELD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    acts = attempt("acts.py")
    until((tmp_path / "starts").exists, "the zygote's interpreter starts")

    os.killpg(acts.process.pid, signal.SIGINT)

    acts.ended()
    assert "Traceback" not in acts.output
    assert "KeyboardInterrupt" not in acts.output


def test_a_signal_under_load_costs_nobody_an_answer(serve, until):
    acts = serve("acts.py", "--grain", "fine", "--replicas", "2")

    with Load(acts) as load:
        until(lambda: len(load.statuses) > 100, "the load runs")
        acts.signal()
        assert acts.ended() == 0

    assert set(load.statuses) == {200}
    assert load.refused == 6


def test_while_balancers_take_notice_it_serves_on_unready(serve, until):
    acts = serve("acts.py", healthcheck_interval="10s")

    with Load(acts, callers=2) as load:
        until(lambda: load.statuses, "the load runs")
        acts.signal()
        acts.said("regrain: draining")
        assert acts.get("/_/ready").status_code == 503
        assert acts.get("/_/health").status_code == 503
        assert acts.call(do="still").text == "still"
        assert acts.ended() == 0

    assert set(load.statuses) == {200}


def test_a_second_signal_ends_it_at_once(serve, until, tmp_path):
    note = tmp_path / "note"
    acts = serve("acts.py")
    waiting(acts, note, 2, until)

    acts.signal()
    acts.said("regrain: draining")
    acts.signal()

    assert acts.ended() == 1
    assert note.exists()


def test_a_body_that_outlasts_the_drain_is_cut_off(serve, until):
    acts = serve("acts.py", drain_timeout="100ms")
    with acts.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        until(lambda: acts.metric("http_requests_in_flight") == 1, "it is being read")

        acts.signal()

        assert acts.ended() == 0


def test_requests_that_outlast_the_drain_are_cut_off(serve, until, tmp_path):
    note = tmp_path / "note"
    acts = serve("acts.py", drain_timeout="200ms")
    waiting(acts, note, 2, until)

    acts.signal()
    acts.said("2 call.s. were cut off after 0.2 s")
    note.unlink()

    assert acts.ended() == 0


def test_a_signal_to_the_whole_group_of_processes_drains_all_the_same(serve, until, tmp_path):
    """As systemd sends it, and a terminal."""
    note = tmp_path / "note"
    acts = serve("acts.py", "--grain", "fine")
    asked = waiting(acts, note, 2, until)

    os.killpg(acts.process.pid, signal.SIGTERM)
    acts.said("regrain: draining")
    note.unlink()

    assert [one.result().status_code for one in asked] == [200, 200]
    assert acts.ended() == 0


def test_a_signal_while_it_starts_ends_it(attempt, tmp_path):
    path = tmp_path / "slow.py"
    path.write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    served = attempt(path)
    served.said("importing")

    served.signal()

    assert served.ended() == 0


def test_a_killed_front_takes_its_processes_along(serve, until, tmp_path):
    note = tmp_path / "note"
    acts = serve("acts.py", "--grain", "fine", "--replicas", "2")
    waiting(acts, note, 3, until)

    acts.signal(signal.SIGKILL)

    assert acts.ended() == -signal.SIGKILL
    assert note.exists()


def test_a_killed_front_takes_replicas_along_that_no_zygote_reaps(serve, until, tmp_path):
    acts = serve("acts.py", "--replicas", "2")
    os.kill(acts.zygote(), signal.SIGSTOP)
    zygote = acts.zygote()

    acts.signal(signal.SIGKILL)
    acts.process.wait(60)
    until(lambda: [process.pid for process in acts.processes()] == [zygote], "its replicas have gone")
    os.kill(zygote, signal.SIGCONT)

    acts.ended()


def test_two_apps_run_side_by_side_and_are_told_apart(serve, run_cli):
    one, other = serve("acts.py"), serve("tensor.py")

    assert one.port != other.port
    refused = run_cli("status")
    assert refused.returncode != 0
    assert "acts" in refused.stderr
    assert "tensor" in refused.stderr
    assert "acts" in run_cli("status", "--app", "acts").stdout
    assert one.stop() == 0
    assert "tensor" in run_cli("status").stdout


def test_a_run_file_of_a_killed_app_is_passed_over_and_removed(serve, run_cli, tmp_path):
    dead = serve("acts.py")
    dead.signal(signal.SIGKILL)
    dead.ended()
    (left,) = (tmp_path / "regrain").glob("*.json")

    refused = run_cli("status")

    assert refused.returncode != 0
    assert "no running app found" in refused.stderr
    assert not left.exists()


def test_an_app_leaves_no_run_file(serve, tmp_path):
    acts = serve("acts.py")
    assert len(list((tmp_path / "regrain").iterdir())) == 1

    acts.stop()

    assert list((tmp_path / "regrain").iterdir()) == []


def test_an_edit_is_served_after_a_reload_and_a_broken_one_is_not(serve, until, tmp_path, free_ports):
    path = tmp_path / "app.py"
    text = (
        "from regrain import App\napp = App('edited')\n\n@app.stage()\ndef say(x: str) -> str:\n    return 'first'\n\n"
        "@app.flow\ndef flow(x: str = '') -> str:\n    return say(x)\n"
    )
    path.write_text(text)
    served = serve(path, "--reload", "--port", str(free_ports[0]))

    path.write_text("def broken(:\n")
    served.said("the app stays as it was: .*SyntaxError")
    assert served.call(x="").text == "first"

    path.write_text(text.replace("first", "second"))

    def said():
        with suppress(requests.ConnectionError):
            return served.call(x="").text
        return None

    until(lambda: said() == "second", "the edit is served")
