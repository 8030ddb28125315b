import os
import py_compile
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from regrain.errors import LoadError
from regrain_runtime.module import load, manifest

APPS = Path(__file__).parents[1] / "apps"
ONE = """
from regrain import App

app = App("{name}")

@app.stage()
def same(number: int) -> int:
    return number

@app.flow
def run(number: int) -> int:
    return same(number)
"""


@pytest.fixture(autouse=True)
def _imports_are_undone(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def refused(target: object) -> str:
    with pytest.raises(LoadError) as caught:
        load(str(target))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_loaded_with_its_folder_to_import_from(tmp_path):
    write(tmp_path, "beside_one.py", "NAME = 'from-beside'")
    path = write(
        tmp_path,
        "loaded_one.py",
        "import beside_one\n" + ONE.format(name="x").replace('"x"', "beside_one.NAME"),
    )

    assert load(str(path)).name == "from-beside"


@pytest.mark.parametrize("entry", ["app.py", "handler.py"])
def test_a_folder_is_loaded_by_its_entry_file(tmp_path, entry):
    write(tmp_path, entry, ONE.format(name="in-a-folder"))

    assert load(str(tmp_path)).name == "in-a-folder"


def test_a_dotted_name_is_imported(tmp_path, monkeypatch):
    write(tmp_path / "some_package", "inner.py", ONE.format(name="dotted"))
    monkeypatch.chdir(tmp_path)

    assert load("some_package.inner").name == "dotted"


@pytest.mark.parametrize(("name", "app"), [("first", "first"), ("second", "second")])
def test_one_of_several_apps_is_chosen_by_name(name, app):
    assert load(f"{APPS / 'two.py'}:{name}").name == app


def test_several_apps_need_a_choice():
    assert "holds several apps (first, second); choose one with" in refused(APPS / "two.py")


def test_a_name_that_is_no_app_is_refused_with_those_there_are():
    assert "no App named 'third'; it holds first, second" in refused(f"{APPS / 'two.py'}:third")


def test_one_app_under_two_names_is_one_app(tmp_path):
    path = write(tmp_path, "twice_named.py", ONE.format(name="one") + "\napplication = app\n")

    assert load(str(path)).name == "one"


def test_a_handler_is_a_one_stage_app():
    app = load(str(APPS / "plain_handler.py"))

    assert app.name == "plain-handler"
    assert len(app.stages) == 1
    assert not next(iter(app.stages.values())).spec.idempotent


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("page_reader", "page-reader"),
        ("two--dashes", "two--dashes"),
        ("OCR", "ocr"),
        ("my.function", "my-function"),
        ("_page (2)", "page--2"),
        ("über", "ber"),
        ("字", "handler"),
        ("n" * 62 + "_name", "n" * 62),
    ],
)
def test_a_handler_is_named_after_its_folder_however_that_is_written(tmp_path, folder, name):
    path = write(tmp_path / folder, "handler.py", "def handle(event, context): ...\n")

    assert load(str(path)).name == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("x = 1\nx = = 2\n", "bad_one.py:2: SyntaxError", id="syntax error"),
        pytest.param("\n\n1 / 0\n", "bad_one.py:3: ZeroDivisionError", id="exception"),
        pytest.param("import no_such_library\n", "No module named 'no_such_library'", id="missing library"),
        pytest.param(
            "import json\njson.loads('')\n", "bad_one.py:2: JSONDecodeError", id="exception in a library"
        ),
        pytest.param("raise SystemExit(3)\n", "bad_one.py:1: SystemExit: 3", id="exit"),
        pytest.param("raise ValueError('two\\nlines')\n", "ValueError: two lines", id="several lines"),
        pytest.param("x = 1\n", "holds neither an App nor handle(event, context)", id="no app"),
        pytest.param(
            "class Flask:\n    wsgi_app = print\nclass Request:\n    def __getattr__(self, name): 1 / 0\n"
            "request, web = Request(), Flask()\n",
            "regrain run wsgi:bad_one:web",
            id="WSGI",
        ),
        pytest.param("from regrain import App\nApp('Bad Name')\n", "'Bad Name'", id="bad app"),
    ],
)
def test_what_goes_wrong_at_import_is_one_line_that_says_where(tmp_path, text, told):
    assert told in refused(write(tmp_path, "bad_one.py", text))


def test_what_is_not_there_is_named(tmp_path):
    assert refused(tmp_path / "none.py") == f"no such file: {tmp_path / 'none.py'}"
    assert "holds neither app.py nor handler.py" in refused(tmp_path)
    assert "module no_such_module could not be imported" in refused("no_such_module")


def test_a_file_named_like_a_library_is_refused(tmp_path):
    assert "the name is taken; rename the file" in refused(write(tmp_path, "json.py", ONE.format(name="x")))


def rewrite(path: Path, old: str, new: str) -> None:
    """Write another version of a file, of the same size and time, beside the bytecode of the one before."""
    py_compile.compile(str(path), doraise=True)
    when = path.stat().st_mtime_ns
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(when, when))


def test_a_version_of_the_same_second_and_size_as_the_one_before_is_not_taken_for_it(tmp_path):
    beside = write(tmp_path, "beside_same.py", "NAME = 'old'")
    path = write(
        tmp_path,
        "same_one.py",
        "import beside_same\n" + ONE.format(name="old").replace('"old"', '"old-" + beside_same.NAME'),
    )
    rewrite(beside, "old", "new")
    rewrite(path, '"old-"', '"new-"')

    assert load(str(path)).name == "new-new"


def test_a_digest_is_of_the_code_that_was_imported_whatever_is_on_disk_by_then(tmp_path):
    path = write(tmp_path, "digested_one.py", ONE.format(name="x"))
    app = load(str(path))
    before = manifest(app, str(path)).digest

    path.write_text(ONE.format(name="x").replace("return number", "return number + 1"))

    assert manifest(app, str(path)).digest == before


@pytest.mark.parametrize("marker", ["__init__.py", "notes.txt"], ids=["a package", "a folder of modules"])
def test_a_digest_of_a_module_in_a_package_is_of_what_lies_in_the_package(tmp_path, monkeypatch, marker):
    """Of the first folder on the path, which holds no module, a package without __init__.py has a part, too."""
    digests = set()
    (tmp_path / "other" / "own_package").mkdir(parents=True)
    for stray in ("old", "new"):
        home = tmp_path / stray
        home.mkdir()
        write(home, "stray_module.py", f"WHAT = {stray!r}")
        write(home / "own_package", marker, "")
        write(home / "own_package", "inner.py", "import stray_module\n" + ONE.format(name="inner"))
        monkeypatch.chdir(home)
        with monkeypatch.context() as during:
            during.setattr(sys, "path", [str(tmp_path / "other"), "", *sys.path])
            app = load("own_package.inner")
            digests.add(manifest(app, "own_package.inner").digest)
        for name in ("stray_module", "own_package", "own_package.inner"):
            del sys.modules[name]

    assert len(digests) == 1


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "told"),
    [("maps", ""), ("threaded", "started 1 thread(s)"), ("session", "thread(s)|an onnxruntime session")],
)
def test_a_module_that_must_not_be_forked_is_told_from_one_that_may(name, told):
    found = unforkable(APPS / f"{name}.py")

    assert any(word in found for word in told.split("|")) if told else found == ""


TORCH = """
import os, sys
from types import SimpleNamespace

from regrain import App

BEGAN = os.getpid()
cuda = SimpleNamespace(is_initialized=lambda: False, _is_in_bad_fork=lambda: {poisoned})
sys.modules["torch"] = SimpleNamespace(cuda=cuda)
app = App("asks")


@app.stage()
def double(number: int) -> int:
    return 2 * number


@app.flow
def run(number: int) -> int:
    return double(number)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("poisoned", "driver", "told"),
    [
        pytest.param(
            "os.getpid() != BEGAN",
            Path(msgspec._core.__file__).read_bytes(),  # any library stands for it
            "importing it began to use CUDA",
            id="as torch.cuda.is_available does",
        ),
        pytest.param(
            "os.getpid() != BEGAN", b"", "", id="as torch.cuda.is_available does where there is no driver"
        ),
        pytest.param("False", Path(msgspec._core.__file__).read_bytes(), "", id="not"),
    ],
)
def test_a_module_that_asked_the_driver_for_a_gpu_is_known_by_what_torch_says_in_a_fork(
    tmp_path, poisoned, driver, told
):
    path = write(tmp_path, "asks_one.py", TORCH.format(poisoned=poisoned))
    (tmp_path / "libcuda.so.1").write_bytes(driver)

    assert unforkable(path, LD_LIBRARY_PATH=str(tmp_path)) == told


def unforkable(path: Path, **variables: str) -> str:
    """Return why a process that has imported a module must not be forked."""
    script = f"from regrain_runtime import module; module.load({str(path)!r}); print(module.unforkable())"
    as_the_front_sets_them = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **as_the_front_sets_them, **variables}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()
