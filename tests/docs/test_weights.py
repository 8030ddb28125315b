"""The page on weights holds code; it runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


def test_the_module_from_a_file_scores(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'regrain[torch]'")
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    layer = torch.nn.Linear(512, 1024)
    torch.save(layer.state_dict(), tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}

    exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)

    x = [1.0] * 512
    torch.testing.assert_close(torch.tensor(names["Scorer"]()(x)), layer(torch.tensor(x)).detach())
