"""What `import regrain` gives, and what it does not load."""

import subprocess
import sys
from types import ModuleType

import pytest

import regrain

HEAVY = {"numpy", "torch", "onnxruntime", "grpc", "flask", "numba", "requests", "httptools", "click", "rich"}


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.process
def test_importing_it_loads_no_model_library_and_no_server():
    assert not loaded_after("import regrain") & HEAVY


@pytest.mark.process
def test_declaring_an_app_and_writing_its_manifest_loads_none_either():
    code = (
        "from regrain import App\n"
        "app = App('hello')\n"
        "@app.stage()\n"
        "def greet(name: str) -> str: return name\n"
        "@app.flow\n"
        "def hello(name: str) -> str: return greet(name)\n"
        "app.manifest()\n"
    )

    assert not loaded_after(code) & HEAVY


@pytest.mark.process
@pytest.mark.parametrize("first", ["regrain.context", "regrain.request", "regrain.stage", "regrain.testing"])
def test_names_stay_what_they_are_whichever_module_is_imported_first(first):
    code = f"import {first}\nfrom regrain import context\nassert callable(context), context"

    assert "regrain" in loaded_after(code)


def test_all_names_exactly_what_is_public():
    public = {
        name
        for name, value in vars(regrain).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    later = {"AsyncGrpcClient", "Client", "GrpcClient", "onnx", "testing", "torch"}

    assert public | later == set(regrain.__all__)
    assert regrain.__all__ == sorted(
        regrain.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )


@pytest.mark.parametrize("name", regrain.__all__)
def test_each_public_name_is_there_and_says_what_it_is(name):
    value = getattr(regrain, name)

    assert value.__doc__
    assert name in dir(regrain)


def test_onnx_torch_and_context_are_the_functions_and_no_modules():
    for name in ("context", "onnx", "torch"):
        assert callable(getattr(regrain, name))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'regrain' has no attribute 'nonsense'"):
        regrain.nonsense  # noqa: B018
