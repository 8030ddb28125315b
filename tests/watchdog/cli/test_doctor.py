import json

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
    } == {finding["subject"] for finding in findings}
    assert all({"subject", "ok", "found", "follows", "required"} == set(finding) for finding in findings)


def test_each_finding_is_a_line(regrain, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (python, kernel))

    outcome = regrain("doctor")

    assert [text.split()[:2] for text in outcome.out.splitlines()] == [
        ["ok", "python"],
        ["ok", "memfd"],
        ["ok", "pidfd"],
    ]


def test_a_machine_without_what_is_required_fails(regrain, monkeypatch):
    lacking = Finding(subject="memfd", ok=False, found="not allowed", required=True)
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([lacking]),))

    assert regrain("doctor").code == 1


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
