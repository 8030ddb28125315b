"""The page on functions names what a handler of OpenFaaS' templates may ask for."""

from pathlib import Path

from regrain.handler import RAW_BODY

PAGE = Path(__file__).parents[2] / "docs" / "functions.md"


def test_the_variable_by_which_a_handler_gets_bytes_is_told() -> None:
    assert f"`{RAW_BODY}`" in PAGE.read_text()
