"""The page on the gateway names its settings as the command does."""

import re
from pathlib import Path

import click

from regrain_watchdog.cli.gateway import command

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


def test_every_setting_is_in_the_table_under_its_names() -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)

    options = [option for option in command.params if isinstance(option, click.Option)]
    assert rows == [
        (option.opts[0], f"REGRAIN_GATEWAY_{option.opts[0][2:].replace('-', '_').upper()}")
        for option in options
    ]
