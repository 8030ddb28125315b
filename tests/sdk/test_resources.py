import sys
from pathlib import Path

import pytest

from regrain import resources
from regrain.errors import LoadError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported."""
    folder = tmp_path / "weighty"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "models" / "net.onnx").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize("source", ["weighty:models/net.onnx", "weighty.models:net.onnx"])
def test_a_file_in_a_package_is_found_without_importing_it(package, source):
    assert resources.find(source, Path("/nowhere")) == package / "models" / "net.onnx"
    assert "weighty" not in sys.modules


def test_a_relative_path_starts_at_the_calling_file_then_at_the_working_directory(tmp_path, monkeypatch):
    beside, working = tmp_path / "app", tmp_path / "work"
    for folder in (beside, working):
        folder.mkdir()
        (folder / "net.onnx").write_bytes(b"")
    monkeypatch.chdir(working)

    assert resources.find("net.onnx", beside) == beside / "net.onnx"
    (beside / "net.onnx").unlink()
    assert resources.find("net.onnx", beside) == working / "net.onnx"


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    file = tmp_path / "with:colon.onnx"
    file.write_bytes(b"")

    assert resources.find(str(file), Path("/nowhere")) == file


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("weighty:models/other.onnx", "no file 'weighty:models/other.onnx': looked for .*other.onnx"),
        ("absent_package:net.onnx", "no file .*: the package 'absent_package' is not installed"),
        ("net.onnx", "no file 'net.onnx': looked for /nowhere/net.onnx and "),
        ("/nowhere/net.onnx", "no file '/nowhere/net.onnx': looked for /nowhere/net.onnx$"),
    ],
)
def test_what_is_missing_is_named_with_where_it_was_looked_for(package, source, message):
    with pytest.raises(LoadError, match=message):
        resources.find(source, Path("/nowhere"))
