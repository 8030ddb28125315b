"""Where a load goes."""

import pytest

from regrain_watchdog.cli.course import Wanted, from_options


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://127.0.0.1:1", "/?a=1&b=c+d"),
        ("http://127.0.0.1:1/predict", "/predict?a=1&b=c+d"),
        ("http://127.0.0.1:1/predict?user=7", "/predict?user=7&a=1&b=c+d"),
    ],
)
def test_parameters_beside_a_body_go_into_the_query_that_there_is(tmp_path, monkeypatch, url, path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    wanted = Wanted(
        rate=1.0,
        duration="1s",
        body="text",
        params=("a=1", "b=c d"),
        sample=False,
        content_type="",
        slo="1s",
        seed=1,
    )

    assert from_options(url, "", "", wanted).target.path == path
