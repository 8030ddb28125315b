"""Load the user's module and find the App in it.

This is the one place that runs code of the user's at import. Whatever goes wrong there ends as one line that
names the file and the line, since the person who reads it is looking at a terminal.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from msgspec import structs

from regrain.answers import sentence
from regrain.app import App
from regrain.errors import LoadError, RegrainError
from regrain.manifest import Manifest
from regrain_runtime import reach, source

ENTRY_FILES = ("app.py", "handler.py")
"""What is looked for when the user names a folder."""
HEAVY = {"regrain._onnx": "onnxruntime", "regrain._torch": "torch"}
"""By the helper that loads models with it, the library that takes most of a cold start to import. onnxruntime starts a
thread for telemetry when it is imported, unless ORT_DISABLE_TELEMETRY is set, as the front does for its zygotes."""
DRIVER = "libcuda.so.1"
"""The library of NVIDIA's driver, without which no process can use CUDA."""
_NO_NAME = re.compile(r"[^a-z0-9-]", re.ASCII)
"""What the name of an app has none of."""
_LONGEST_NAME = 63


def load(target: str) -> App:
    """Import a module and return its App.

    Args:
        target: a file ("app.py"), a folder that holds app.py or handler.py, or a dotted module name; followed
            by ":name" where a module holds several apps.

    Raises:
        LoadError: the module is not found, fails, or holds no app (or several and no name was given).
    """
    where, _, name = target.partition(":")
    path = _file(where)
    module = _import_file(path) if path else _import_name(where)
    return _find(module, name, where)


def manifest(app: App, target: str) -> Manifest:
    """Return the manifest of an app that was loaded; its digest covers all of the code beside the module.

    That of a stage covers what it reaches of that code (regrain_runtime.reach).
    """
    found = app.manifest()
    own = source.imported_from(_folder(target))
    digest = hashlib.sha256(found.digest.encode())
    for text in own.values():
        digest.update(text)
    digests = reach.digests([app.stages[spec.name] for spec in found.stages], own)
    stages = tuple(structs.replace(spec, digest=digests[spec.name]) for spec in found.stages)
    return structs.replace(found, stages=stages, digest=digest.hexdigest()[:16])


def preload() -> None:
    """Import the library behind each model helper that the module took, so that its replicas find it imported."""
    for helper, library in HEAVY.items():
        if helper in sys.modules:
            with contextlib.suppress(ImportError):  # the stage that needs it says so when it is built
                importlib.import_module(library)


def unforkable() -> str:
    """Return why this process must not be forked now that the module is imported, or "" if it may.

    A fork copies one thread only: locks that another one holds stay locked, pools wait for workers that are
    not there. Sessions and CUDA contexts made before a fork are broken in the child.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"importing it started {threads - 1} thread(s)"
    runtime = sys.modules.get("onnxruntime")
    session = getattr(runtime, "InferenceSession", None)
    if session is not None and any(isinstance(thing, session) for thing in gc.get_objects()):
        return "importing it made an onnxruntime session"
    torch = sys.modules.get("torch")
    if torch is not None and (torch.cuda.is_initialized() or _breaks_in_a_fork(torch)):
        return "importing it began to use CUDA"
    return ""


def _breaks_in_a_fork(torch: ModuleType) -> bool:
    """Whether torch has called the driver here, after which no fork of this process can use CUDA (pytorch#83973).

    `torch.cuda.is_available()` does that unless PYTORCH_NVML_BASED_CUDA_CHECK is set, as the front does for zygotes.
    Torch tells it in the fork alone, so one is asked. Where there is no driver torch calls CUDA all the same, since
    there is no NVML either, and says so: forks lose nothing then.
    """
    pid = os.fork()
    if not pid:
        is_bad = True
        try:
            is_bad = getattr(torch.cuda, "_is_in_bad_fork", bool)() and _has_driver()
        finally:
            os._exit(is_bad)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0


def _has_driver() -> bool:
    """Whether a process could use CUDA here."""
    import ctypes  # noqa: PLC0415 - for modules that import torch only

    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _folder(target: str) -> Path:
    """Return the app's own folder, or that of its package."""
    where = target.partition(":")[0]
    path = _file(where)
    return _package_folder(where) if path is None else path.parent


def _package_folder(name: str) -> Path:
    """Return the folder of the outermost package of a module that was imported by name, or the module's own.

    Of a package without __init__.py, which may lie in several folders, that is the one which the module is in.
    """
    package = sys.modules[name.partition(".")[0]]
    file = getattr(package, "__file__", None)
    if file is not None:
        return Path(file).resolve().parent
    inside = Path(sys.modules[name].__file__ or "").resolve()
    portions = [Path(portion).resolve() for portion in package.__path__]
    return next((portion for portion in portions if inside.is_relative_to(portion)), portions[0])


def _file(where: str) -> Path | None:
    path = Path(where)
    if path.is_dir():
        for entry in ENTRY_FILES:
            if (path / entry).is_file():
                return (path / entry).resolve()
        raise LoadError(f"{where} holds neither {' nor '.join(ENTRY_FILES)}")
    if path.suffix == ".py" or os.sep in where:
        if not path.is_file():
            raise LoadError(f"no such file: {where}")
        return path.resolve()
    return None


def _import_file(path: Path) -> ModuleType:
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names:
        raise LoadError(f"{path.name} cannot be imported as {name!r}: the name is taken; rename the file")
    loader = source.Loader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or path.suffix != ".py":
        raise LoadError(f"{path} is no Python file")
    source.import_from(path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        loader.exec_module(module)
    except RegrainError as error:
        raise LoadError(str(error)) from error
    except (Exception, SystemExit) as error:
        raise LoadError(f"{_place(error, path)}: {sentence(error)}") from error
    return module


def _import_name(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    source.import_from(Path.cwd())
    try:
        return importlib.import_module(name)
    except RegrainError as error:
        raise LoadError(str(error)) from error
    except (Exception, SystemExit) as error:
        raise LoadError(f"module {name} could not be imported: {sentence(error)}") from error


def _place(error: BaseException, path: Path) -> str:
    """The last line of the user's file that an exception passed through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).parent == path.parent:
            return f"{frame.filename}:{frame.lineno}"
    return str(path)


def _find(module: ModuleType, name: str, where: str) -> App:
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if name:
        if name not in apps:
            raise LoadError(f"{where} holds no App named {name!r}; it holds {', '.join(apps) or 'none'}")
        return apps[name]
    if len(set(map(id, apps.values()))) == 1:  # it may have two names
        return next(iter(apps.values()))
    if apps:
        raise LoadError(f"{where} holds several apps ({', '.join(apps)}); choose one with {where}:NAME")
    if callable(getattr(module, "handle", None)):
        from regrain.handler import handler_app  # noqa: PLC0415 - only handler modules need it

        return handler_app(module, _handler_name(module))
    raise LoadError(f"{where} holds neither an App nor handle(event, context){_instead(module)}")


def _instead(module: ModuleType) -> str:
    """How a module that holds a Flask application is served; "" for any other."""
    kinds = {
        key: type(value) for key, value in vars(module).items()
    }  # Flask's own values raise if asked here
    found = next((key for key, kind in kinds.items() if callable(getattr(kind, "wsgi_app", None))), "")
    return f"; its WSGI application is served by: regrain run wsgi:{module.__name__}:{found}" if found else ""


def _handler_name(module: ModuleType) -> str:
    """A handler module is named after its file, or after its folder where the file has the usual name.

    In small letters, with a dash for whatever the name of an app cannot have: `OCR` is ocr, `my.function` my-function.
    """
    path = Path(module.__file__ or module.__name__)
    generic = path.stem in ("handler", "app", "__init__")
    name = path.resolve().parent.name if generic else path.stem
    return _NO_NAME.sub("-", name.lower()).strip("-")[:_LONGEST_NAME].rstrip("-") or "handler"
