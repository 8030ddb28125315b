"""The page on the simulator holds code; it runs."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def test_the_run_on_the_page_prints_what_the_page_says(capsys):
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    (said,) = re.findall(r"# (1\.0)$", block, re.MULTILINE)

    exec(compile(block, str(PAGE), "exec", dont_inherit=True), {})

    assert capsys.readouterr().out.strip() == said
