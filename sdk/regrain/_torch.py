"""Torch modules in stages: evaluation only, on the cores and the device that the stage asked for.

On the CPU the replicas of a node share a module's weights, on a GPU its parameters where one holds them for all
(regrain.weights.torch_file).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regrain import place, resources
from regrain.context import current_build
from regrain.errors import LoadError, RegrainError
from regrain.weights.device import Lender, current_lender
from regrain.weights.store import LEAST, give_back, open_store
from regrain.weights.torch_file import lend
from regrain.weights.torch_file import share as move

if TYPE_CHECKING:
    from torch import Tensor, device, dtype
    from torch.nn import Module

logger = logging.getLogger(__name__)

DETAIL_LIMIT = 300
"""Characters of what torch says that are told."""


class TorchModel:
    """A module in eval mode; call it with arrays or tensors.

    Attributes:
        module: the torch.nn.Module.
        device: where it runs.
    """

    def __init__(self, module: Module, where: device, kind: dtype | None, threads: int) -> None:
        self.module = module
        self.device = where
        self._dtype = kind
        self._threads = threads

    def __call__(self, *args: object, **kwargs: object) -> Tensor:
        """Run the module under inference mode; return what it gives, on the CPU.

        The type says a tensor, which most modules give; tuples, lists and dicts of tensors come as they are.
        Arrays and tensors are put on the module's device, floating ones in its dtype. Threads are set per
        call: stages of one replica may have different cores, and sums depend on how they are cut.
        """
        import torch  # noqa: PLC0415  # heavy, and only where an app has it

        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            taken = [self._take(value) for value in args]
            given: Tensor = self.module(*taken, **{name: self._take(value) for name, value in kwargs.items()})
            return _to_cpu(given)

    def _take(self, value: object) -> object:
        import torch  # noqa: PLC0415  # heavy, and only where an app has it

        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.array(value))  # a copy: what came from another stage is read-only
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self._dtype if value.is_floating_point() else None)


def torch(
    module: Module | Callable[[], Module],
    *,
    weights: str | None = None,
    device: str | None = None,
    dtype: dtype | None = None,
    seed: int | None = None,
    share: bool | None = None,
) -> TorchModel:
    """Make a torch module ready to serve; call this where the stage is built (`__init__`).

    Args:
        module: the module, or a function that builds it.
        weights: file with the module's state dict as torch.save writes it: "package:path/in/package", or a path,
            absolute or relative to the calling file or the working directory. It is mapped, and only tensors
            are read from it. A function may build the module on the device "meta", which costs nothing.
        device: as torch names it; by default "cuda" if the stage asked for a GPU and torch sees one. Where it
            asked and torch sees none, the module runs on the CPU and a warning is logged.
        dtype: of its weights; None leaves them as they are.
        seed: of torch's random numbers while a function builds the module, so that every replica has the
            same weights; the generator is left as it was.
        share: whether to share the weights with the other replicas on this node, by a file in the user's cache
            folder (docs/weights.md); by default for 1 MiB and more. Answers and speed are the same. On a GPU
            that is one that `--gpus` shares out, and buffers are each replica's own. Where it is not possible
            the replica has weights of its own and a line is logged.

    Raises:
        LoadError: torch is not installed, or sees no such device; no such file, or it does not fit the module.
        SpecError: REGRAIN_WEIGHTS is neither "off" nor an absolute path.
    """
    try:
        import torch as library  # noqa: PLC0415  # heavy, and only where an app has it
    except ImportError as error:
        raise LoadError(f"regrain.torch needs torch: pip install 'regrain[torch]' ({error})") from error
    build = current_build()
    where = library.device(device or _default_device(present=library.cuda.is_available()))
    built = module if isinstance(module, library.nn.Module) else _build(module, seed)
    if weights is not None:
        _fill(built, resources.find(weights, Path(place.caller().file).parent))
    with suppress(NotImplementedError):  # an exported program is in eval mode for good
        built.eval()
    for parameter in built.parameters():
        parameter.requires_grad_(False)
    built = _put(built, where, dtype, share)
    return TorchModel(built, where, dtype, max(1, int(build.cpu)) if build else 1)


def _build(function: Callable[[], Module], seed: int | None) -> Module:
    import torch as library  # noqa: PLC0415  # heavy, and only where an app has it

    with library.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            library.default_generator.manual_seed(seed)
        return function()


def _fill(module: Module, path: Path) -> None:
    """Let a module have the weights of a file, mapped; in the module's own dtypes."""
    import torch as library  # noqa: PLC0415  # heavy, and only where an app has it

    try:
        given = library.load(path, map_location="cpu", mmap=True, weights_only=True)
        own = module.state_dict()
        fitting = {
            name: tensor.to(own[name].dtype) if name in own else tensor for name, tensor in given.items()
        }
        module.load_state_dict(fitting, assign=True)
    except Exception as error:  # from unpickling, zip files and torch itself
        reason = " ".join(str(error).split())[:DETAIL_LIMIT]
        raise LoadError(f"{path} could not be loaded as the module's state dict: {reason}") from error
    left = [name for name, buffer in module.named_buffers() if buffer.is_meta]
    if left:
        raise LoadError(f"{path} has no {left[0]!r}: build the module on a device, not on meta")


def _put(module: Module, where: device, kind: dtype | None, share: bool | None) -> Module:
    """Return the module on its device, its weights shared with other replicas if they are to be."""
    import torch as library  # noqa: PLC0415  # heavy, and only where an app has it

    least = 0 if share else LEAST
    lender = current_lender()
    lends = lender is not None and share is not False and _same(library.device(lender.device), where)
    try:
        if lends:
            _share(module.to(dtype=kind), lender, least=least)
        module = module.to(where, kind)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there
        reason = str(error).partition("\n")[0]
        raise LoadError(f"the module cannot be put on {where}: {reason}") from error
    if where.type == "cpu" and share is not False and not lends:
        _share(module, None, least=least)
    return module


def _share(module: Module, lender: Lender | None, *, least: int) -> None:
    """Let a module's weights be shared: by the lender of its device, or by a file where there is none."""
    store = open_store()
    if store is None:
        return
    try:
        moved = (
            move(module, store, least=least) if lender is None else lend(module, store, lender, least=least)
        )
        if moved:
            give_back()
    except (OSError, RuntimeError, RegrainError) as error:
        reason = " ".join(str(error).split())[:DETAIL_LIMIT]
        logger.warning("weights of a %s are not shared: %s", type(module).__name__, reason)


def _same(one: device, other: device) -> bool:
    return one.type == other.type and (one.index or 0) == (other.index or 0)


def _default_device(*, present: bool) -> str:
    build = current_build()
    if build is None or not build.gpu:
        return "cpu"
    if not present:
        logger.warning("no CUDA for torch here, on the CPU instead: stage %s", build.stage)
    return "cuda" if present else "cpu"


def _to_cpu(value: Tensor) -> Tensor:
    """Move tensors to the CPU, whatever tuple, list or dict a module put them in."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(_to_cpu, value))
    if isinstance(value, tuple | list):
        return type(value)(_to_cpu(item) for item in value)
    if isinstance(value, dict):
        moved = copy(value)  # of a class whose keys may be attributes, too, as transformers' outputs
        for key, item in value.items():
            moved[key] = _to_cpu(item)
        return moved
    return value.cpu() if hasattr(value, "cpu") else value
