"""Groups on other pods: processes of one app that have a group each and run requests for one another."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from regrain_watchdog.front.remote import wire

STAGES = ("spread", "turn", "total")
SECRET = "a-secret-of-the-pods"
PATIENCE = 60.0


@pytest.fixture
def pods(attempt, key, until, free_ports, staffed):
    """Start pods of the app, which hear each other and have a group each; by default three.

    A pod that waits longer than it may for another one that stands still starts that one's group, too: once more then.
    """

    def begin(homes, app):
        urls = [f"http://127.0.0.1:{port}" for port in free_ports]
        for own, port in zip(homes, free_ports, strict=False):
            elsewhere = {
                stage: [url for url, home in zip(urls, homes, strict=False) if home == stage]
                for stage in STAGES
                if stage != own
            }
            remote = ",".join(f"{stage}={' '.join(where)}" for stage, where in elsewhere.items() if where)
            flags = ["--grain", "spread | turn | total", "--port", str(port), "--remote-key-file", str(key)]
            yield attempt(app, *flags, *(["--remote", remote] if remote else []))

    def start(homes=STAGES, app="relay.py"):
        while True:
            started = list(begin(homes, app))
            ready = [one.ready() for one in started]
            until(lambda ready=ready: all(map(hears, ready)), "each pod hears the others")
            if [staffed(pod) for pod in ready] == [{own} for own in homes]:
                return ready
            for one in started:
                one.destroy()

    return start


def hears(pod):
    """Whether all pods that it knows answer it."""
    return all(peer["answers"] for group in pod.status()["groups"] for peer in group["pods"])


def test_three_pods_with_a_group_each_answer_as_one_does(pods, serve, sums, staffed):
    alone = serve("relay.py", "--grain", "coarse")

    three = pods()

    assert [staffed(pod) for pod in three] == [{stage} for stage in STAGES]
    for count in (0, 1, 9):
        expected = alone.call(count=count).json()["sums"]
        assert expected == sums(count)
        assert [pod.call(count=count).json()["sums"] for pod in three] == [expected] * 3
    for pod in three:
        assert pod.stop() == 0, pod.output


def test_many_requests_at_once_are_all_answered_rightly(pods, sums, staffed):
    three = pods()

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda one: three[one % 3].call(count=one % 7), range(150)))

    assert [answer.status_code for answer in told] == [200] * 150
    assert [answer.json()["sums"] for answer in told] == [sums(one % 7) for one in range(150)]
    assert [staffed(pod) for pod in three] == [{stage} for stage in STAGES]


def test_what_is_not_signed_or_of_another_version_is_refused(serve, key, signed):
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))

    assert signed(pod, key).status_code == 200
    assert signed(pod, key, **{wire.SIGNATURE: "0" * 64}).status_code == 401
    assert signed(pod, key, **{wire.EPOCH: "1"}).status_code == 401
    assert requests.get(f"{pod.url}{wire.PREFIX}", timeout=PATIENCE).status_code == 401
    other = signed(pod, key, version="another")
    assert other.status_code == 409
    assert "another" in other.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xff\xff\xffgarbage", 400),
        (b"\x01\x00\x00\x00\xc1", 400),
        (wire.Loading(None).sealed(wire.Ask("no grain at all", "turn", [])), 400),
        (wire.Loading(None).sealed(wire.Ask("spread | turn | total", "nothing", [])), 409),
        (wire.Loading(None).sealed(wire.Ask("spread | turn | total", "turn", [])), 200),
        (
            wire.Loading(None).sealed(
                wire.Ask("spread | turn | total", "turn", [wire.Guest("a", 0, 0, False, 5, b"\x80", [])])
            ),
            400,
        ),
    ],
)
def test_a_frame_that_is_none_is_refused(serve, key, body, status, *, sums, signed):
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))

    told = signed(pod, key, body, path=f"{wire.PREFIX}/turn", method="POST")

    assert told.status_code == status, told.text
    assert pod.call(count=2).json()["sums"] == sums(2)


def test_a_pod_that_dies_in_the_middle_of_requests_costs_none_of_them(pods, tmp_path, until, sums, staffed):
    front, *others = pods(("spread", "turn", "total"))
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    (gate / "shut").touch()

    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(front.call, count=3, gate=str(gate)) for _ in range(4)]
        until(lambda: len(list(gate.iterdir())) > 1, "the last stage runs")
        others[1].process.kill()
        (gate / "shut").unlink()
        told = [one.result() for one in held]

    assert [answer.status_code for answer in told] == [200] * 4, [answer.text for answer in told]
    assert {answer.json()["front"] for answer in told}.isdisjoint({others[1].process.pid})
    assert staffed(front) == {"spread", "total"}
    assert front.call(count=4).json()["sums"] == sums(4)


def test_callers_are_not_told_which_pod_is_late(serve, key, tmp_path):
    """The one that asks runs nothing itself, so that nothing healthy can be taken for late."""
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    (gate / "shut").touch()
    flags = ["--grain", "coarse", "--remote-key-file", str(key)]
    other = serve("relay.py", *flags)
    pod = serve("relay.py", *flags, "--remote", f"spread+turn+total={other.url}", "--hang-timeout", "1s")

    told = pod.call(count=1, gate=str(gate))
    (gate / "shut").unlink()

    assert told.status_code == 504, told.text
    detail = told.json()["detail"]
    assert detail == "stage 'spread' runs on another pod: no answer within 1 s"
    assert pod.said(f"pod {other.url} is late with stage 'spread'")


def test_what_another_pod_can_run_is_not_run_here(pods, tmp_path, until, staffed):
    front, _, one, other = pods(("spread", "turn", "total", "total"))
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    (gate / "shut").touch()

    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(front.call, count=3, gate=str(gate)) for _ in range(6)]
        until(lambda: len(list(gate.iterdir())) > 2, "the last stage runs on both pods")
        other.process.kill()
        (gate / "shut").unlink()
        told = [answer.result() for answer in held]

    assert [answer.status_code for answer in told] == [200] * 6, [answer.text for answer in told]
    assert staffed(front) == {"spread"}
    assert staffed(one) == {"total"}


def test_a_pod_of_another_version_gets_nothing(pods, tmp_path, serve, key, *, sums, staffed):
    app = Path(__file__).parent / "apps" / "relay.py"
    changed = tmp_path / "relay.py"
    changed.write_text(app.read_text().replace("item[::-1] * 2", "item[::-1] * 3"))
    other = serve(changed, "--grain", "fine", "--remote-key-file", str(key))

    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", f"turn={other.url}")

    assert staffed(pod) == set(STAGES)
    assert pod.call(count=3).json()["sums"] == sums(3)


def test_what_a_pod_has_not_loaded_is_run_here(serve, key, sums, staffed):
    other = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))
    remote = f"turn={other.url},total={other.url}"
    pod = serve(
        "relay.py", "--grain", "spread | turn+total", "--remote-key-file", str(key), "--remote", remote
    )

    assert staffed(pod) == {"spread", "turn+total"}
    pod.said("does not run turn\\+total for us: 409 .*loaded")
    assert [pod.call(count=3).json()["sums"] for _ in range(20)] == [sums(3)] * 20
    assert len(other.replicas()) == 3


@pytest.mark.parametrize("grain", ["spread+turn+total", "spread+turn | total"])
def test_a_pod_of_another_grain_runs_any_group(serve, key, grain, until, *, sums, staffed):
    other = serve("relay.py", "--grain", grain, "--remote-key-file", str(key))
    remote = f"turn={other.url},total={other.url}"
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", remote)
    before = other.replicas()

    for count in (1, 5):
        told = pod.call(count=count).json()
        assert (told["sums"], told["front"]) == (sums(count), other.zygote())

    assert staffed(pod) == {"spread"}
    assert other.replicas() == before
    assert other.call(count=2).json()["sums"] == sums(2)


def test_a_change_of_grain_by_hand_keeps_to_the_pods(serve, key, run_cli, sums, staffed):
    other = serve("relay.py", "--grain", "coarse", "--remote-key-file", str(key))
    remote = f"turn={other.url},total={other.url}"
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", remote)

    done = run_cli("grain", "set", "spread | turn+total", "--url", pod.admin_url)

    assert done.returncode == 0, done.stderr
    assert staffed(pod) == {"spread"}
    assert pod.call(count=4).json()["sums"] == sums(4)


def test_what_may_not_run_twice_is_not_tried_again(pods, tmp_path, until, staffed):
    app = Path(__file__).parent / "apps" / "relay.py"
    once = tmp_path / "relay.py"
    text = app.read_text()
    assert text.count("@app.stage()\ndef total") == 1
    once.write_text(text.replace("@app.stage()\ndef total", "@app.stage(idempotent=False)\ndef total"))
    front, _, one, other = pods(("spread", "turn", "total", "total"), app=once)
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    (gate / "shut").touch()

    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(front.call, count=3, gate=str(gate)) for _ in range(2)]
        until(lambda: len(list(gate.iterdir())) > 2, "the last stage runs on both pods")
        other.process.kill()
        (gate / "shut").unlink()
        told = [answer.result() for answer in held]

    assert sorted(answer.status_code for answer in told) == [200, 502], [answer.text for answer in told]
    (lost,) = [answer for answer in told if answer.status_code == 502]
    assert "may not run twice" in lost.json()["detail"]
    assert staffed(one) == {"total"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--remote", "turn=http://127.0.0.1:1"], "--remote-key-file"),
        (["--remote", "nothing=http://127.0.0.1:1"], "'nothing'"),
        (["--remote", "turn=ftp://127.0.0.1"], "http://HOST:PORT"),
        (["--remote", "turn"], "names no pod"),
    ],
)
def test_settings_that_make_no_sense_are_refused(attempt, key, flags, said):
    keyed = [] if said == "--remote-key-file" else ["--remote-key-file", str(key)]

    served = attempt("relay.py", *flags, *keyed)

    assert served.ended() == 2
    assert said in " ".join(served.output.split())


def test_an_update_does_not_wait_for_a_pod_that_answers_late_and_has_another_version(
    pods, relay, run_cli, until, sums
):
    """Its sample is on the way already when the group starts here."""
    front, late, _ = pods(app=relay)
    relay.write_text(relay.read_text().replace("* 2", "* 3"))
    late.process.send_signal(signal.SIGSTOP)

    with ThreadPoolExecutor(1) as pool:
        updating = pool.submit(run_cli, "update", "--url", front.admin_url)
        until(lambda: front.status()["transitions"], "the update begins")
        until(lambda: front.status()["transitions"][0]["state"] != "loading", "the sample is on its way")
        late.process.send_signal(signal.SIGCONT)
        done = updating.result()

    assert done.returncode == 0, done.stderr
    assert front.call(count=3).json()["sums"] == [total * 1.5 for total in sums(3)]
