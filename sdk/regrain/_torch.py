"""Torch modules in stages: evaluation only, on the cores and the device that the stage asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from regrain.context import current_build
from regrain.errors import LoadError

if TYPE_CHECKING:
    from torch import Tensor, device, dtype
    from torch.nn import Module

logger = logging.getLogger(__name__)


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
    device: str | None = None,
    dtype: dtype | None = None,
    seed: int | None = None,
) -> TorchModel:
    """Make a torch module ready to serve; call this where the stage is built (`__init__`).

    Args:
        module: the module, or a function that builds it.
        device: as torch names it; by default "cuda" if the stage asked for a GPU and torch sees one. Where it
            asked and torch sees none, the module runs on the CPU and a warning is logged.
        dtype: of its weights; None leaves them as they are.
        seed: of torch's random numbers while a function builds the module, so that every replica has the
            same weights; the generator is left as it was.

    Raises:
        LoadError: torch is not installed, or sees no such device.
    """
    try:
        import torch as library  # noqa: PLC0415  # heavy, and only where an app has it
    except ImportError as error:
        raise LoadError(f"regrain.torch needs torch: pip install 'regrain[torch]' ({error})") from error
    build = current_build()
    where = library.device(device or _default_device(present=library.cuda.is_available()))
    if isinstance(module, library.nn.Module):
        built = module
    else:
        with library.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                library.default_generator.manual_seed(seed)
            built = module()
    try:
        built = built.eval().requires_grad_(False).to(where, dtype)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there
        reason = str(error).partition("\n")[0]
        raise LoadError(f"the module cannot be put on {where}: {reason}") from error
    return TorchModel(built, where, dtype, max(1, int(build.cpu)) if build else 1)


def _default_device(*, present: bool) -> str:
    build = current_build()
    if build is None or not build.gpu:
        return "cpu"
    if not present:
        logger.warning("no CUDA for torch here, on the CPU instead: stage %s", build.stage)
    return "cuda" if present else "cpu"


def _to_cpu(value: Tensor) -> Tensor:
    """Move tensors to the CPU, whatever tuple, list or dict a module put them in."""
    if isinstance(value, tuple | list):
        return type(value)(_to_cpu(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_cpu(item) for key, item in value.items()}
    return value.cpu() if hasattr(value, "cpu") else value
