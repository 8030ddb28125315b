import json
import sys

import pytest

from regrain_watchdog.cli import doctor
from regrain_watchdog.cli.doctor import line
from regrain_watchdog.cli.machine import Finding, kernel, processors, python


@pytest.mark.process
def test_every_subject_is_looked_at_and_this_machine_runs_regrain(regrain):
    outcome = regrain("doctor", "--json")

    findings = json.loads(outcome.out)
    assert outcome.code == 0
    assert {
        "python",
        "cores",
        "cgroup",
        "memory",
        "replicas",
        "/dev/shm",
        "memfd",
        "pidfd",
        "gpu",
        "onnxruntime",
        "torch",
        "gpu lease",
        "gpu green",
        "gpu mps",
        "gpu mig",
        "gpu emulated",
    } == {finding["subject"] for finding in findings}
    assert all({"subject", "ok", "found", "follows", "required"} == set(finding) for finding in findings)


def test_each_finding_is_a_line(regrain, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (python, kernel))
    monkeypatch.setattr(doctor, "ASK", [sys.executable, "-c", "import sys; sys.exit('no runtime here')"])

    outcome = regrain("doctor")

    assert [text.split()[:2] for text in outcome.out.splitlines()] == [
        ["ok", "python"],
        ["ok", "memfd"],
        ["ok", "pidfd"],
    ]


def test_a_machine_without_what_is_required_fails(regrain, monkeypatch):
    lacking = Finding(subject="memfd", ok=False, found="not allowed", required=True)
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([lacking]),))
    monkeypatch.setattr(doctor, "ASK", ["no-such-command"])

    assert regrain("doctor").code == 1


@pytest.mark.process
def test_ways_of_sharing_a_gpu_are_a_column_each_and_what_is_in_the_way_is_told(regrain, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", ())

    outcome = regrain("doctor")

    lines = outcome.out.strip().splitlines()
    cells = {line.split("  ")[0]: line.split()[-5:] for line in lines}
    assert lines[0].split() == ["sharing", "a", "GPU", "lease", "green", "mps", "mig", "emulated"]
    assert cells["hard memory limit"] == ["no", "no", "yes", "yes", "yes"]
    assert cells["verified on hardware"] == ["no"] * 5
    assert cells["works here"][-1] == "yes"
    told = [
        name for name, works in zip(lines[0].split()[3:], cells["works here"], strict=True) if works == "no"
    ]
    assert [line.partition(":")[0] for line in lines[len(lines) - len(told) :]] == told
    assert outcome.code == 0


def test_what_is_tried_here_is_found():
    assert [finding.ok for check in (python, kernel, processors) for finding in check()] == [True] * 5


@pytest.mark.parametrize(
    ("ok", "follows", "text"),
    [
        (True, "", "ok      gpu          H200"),
        (True, "fast", "ok      gpu          H200  (fast)"),
        (False, "slow", "missing gpu          H200  (slow)"),
    ],
)
def test_a_line_says_what_was_found_and_what_follows(ok, follows, text):
    import click

    assert click.unstyle(line(Finding(subject="gpu", ok=ok, found="H200", follows=follows))) == text
