"""What is shown of a load while it goes."""

from regrain_watchdog.cli.loadline import LoadLine


def test_what_the_hit_rate_leaves_out_is_left_out_of_the_line_too(capsys, monkeypatch):
    monkeypatch.setattr("regrain_watchdog.cli.loadline.PLAIN_EVERY", 0.0)

    with LoadLine(10.0, 100) as line:
        for outcome in ("hit", "malformed", "cancelled", "hit", "hit", "shed"):
            line.add(outcome, 0.1)

    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("6 of 100, ")
    assert "hit rate 75.0 %" in said
    assert said.endswith("; 1 malformed, 1 cancelled, 1 shed")
