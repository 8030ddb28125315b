"""Which models are shipped, and the file that the emulator reads them from."""

from __future__ import annotations

from pathlib import Path

import msgspec

import regrain_runtime.emulated
from benchmarks.gpu_fit.profile import FULL, Profile
from regrain_runtime.emulated.models import FILE, Model, Source

PATH = Path(regrain_runtime.emulated.__file__).parent / FILE
SOURCE = Source(
    project="RaPP, https://github.com/KontonGu/RaPP",
    commit="600348c1e0e16ab57eba0ba8938528985442495e",
    path="data/graph_features_all_models/*.json",
    copyright="Copyright 2025 HAS-GPU authors, Technical University of Munich, CAPS",
    licence="Apache-2.0, see LICENSE.apache-2.0.txt beside this file",
    device="NVIDIA V100, SM share by MPS, torchvision models, full time quota",
    changes="latencies at full time quota of the models named here, in seconds to 1 us, by batch and share",
    parameters="num_params of the weights in torchvision 0.29 (BSD-3-Clause)",
)

# Parameters of each, the small ones first by the time of a batch of eight on the whole card. One or two of each
# family, over the whole span. Left out are models whose table changes its level midway, as if the machine had
# changed between two runs (densenet121, resnet18, resnet101, resnet152, resnext50_32x4d, mobilenet_v2,
# efficientnet_b1, regnet_y_400mf and _800mf): the emulator would turn that into a property of the share.
SHIPPED = {
    "alexnet": 61_100_840,
    "squeezenet1_0": 1_248_424,
    "vgg11": 132_863_336,
    "mobilenet_v3_large": 5_483_032,
    "shufflenet_v2_x1_0": 2_278_604,
    "mobilenet_v3_small": 2_542_856,
    "convnext_tiny": 28_589_128,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "vgg19": 143_667_240,
    "inception_v3": 27_161_264,
    "googlenet": 6_624_904,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b0": 5_288_548,
    "wide_resnet101_2": 126_886_696,
    "resnext101_32x8d": 88_791_336,
    "efficientnet_b7": 66_347_960,
    "maxvit_t": 30_919_624,
    "convnext_large": 197_767_336,
    "densenet201": 20_013_928,
    "regnet_y_32gf": 145_046_770,
}


def write(profile: Profile, path: Path = PATH) -> None:
    """Write the measured points of the shipped models, one line for each."""
    lines = [msgspec.json.encode(table(name, profile)).decode() for name in SHIPPED]
    source = msgspec.json.format(msgspec.json.encode(SOURCE), indent=1).decode()
    models = ",\n".join(lines)
    path.write_text(f'{{\n"source": {source},\n"models": [\n{models}\n]\n}}\n', encoding="utf-8")


def table(name: str, profile: Profile) -> Model:
    """Return what was measured of a shipped model at full quota, as the emulator reads it."""
    percents, batches = profile.grid()
    measured = profile.models[name]
    seconds = {
        batch: tuple(round(measured[percent, FULL, batch] / 1e3, 6) for percent in percents)
        for batch in batches
    }
    shares = tuple(percent / 100 for percent in percents)
    return Model(name=name, parameters=SHIPPED[name], shares=shares, seconds=seconds)
