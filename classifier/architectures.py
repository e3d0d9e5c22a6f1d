"""Networks by name: torchvision's classification networks, and timm's as `timm/NAME`, with the head replaced."""

import difflib
import re
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from classifier.errors import ArchitectureError, WeightsError

DEFAULT_ARCHITECTURE = "timm/tf_efficientnet_lite0"
TIMM_PREFIX = "timm/"
NUM_IMAGENET_CLASSES = 1000


class Network(nn.Module):
    """A backbone that turns images into features, and a linear head that turns features into logits."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits (batch, num_classes) of normalised images (batch, 3, height, width)."""
        logits: torch.Tensor = self.head(self.backbone(images))
        return logits

    def set_frozen(self, frozen: bool) -> None:
        """Freeze or unfreeze the backbone; the head always trains."""
        self.backbone.requires_grad_(not frozen)


@dataclass(frozen=True)
class Backbone:
    """A network cut before its last layer."""

    module: nn.Module
    """Maps images (batch, 3, height, width) to features (batch, num_features)."""
    num_features: int
    head: nn.Linear | None
    """The layer that was cut off, when it is linear."""


def create_network(architecture: str, num_classes: int, state: dict[str, torch.Tensor] | None = None) -> Network:
    """Build a network with a new head for `num_classes`.

    `state` holds weights of the whole original network; without it, weights are random. The new head is zero, so
    that training starts from equal probabilities. Raises ArchitectureError and WeightsError.
    """
    backbone = create_backbone(architecture, state)
    head = nn.Linear(backbone.num_features, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return Network(backbone.module, head)


def create_backbone(architecture: str, state: dict[str, torch.Tensor] | None = None) -> Backbone:
    """Build a network, load its original weights, and cut its last layer off."""
    is_timm = architecture.startswith(TIMM_PREFIX)
    model = create_timm(architecture) if is_timm else create_torchvision(architecture)
    if state is not None:
        load_state(model, state, architecture)
    return cut_timm(model) if is_timm else cut_torchvision(model)


def create_timm(architecture: str) -> nn.Module:
    """Build one of timm's networks with random weights. Raises ArchitectureError for an unknown name."""
    name = architecture.removeprefix(TIMM_PREFIX)
    if not timm.is_model(name.split(".")[0]):
        raise unknown_architecture(architecture, [TIMM_PREFIX + known for known in timm.list_models()])
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=NUM_IMAGENET_CLASSES)
    return model


def create_torchvision(architecture: str) -> nn.Module:
    """Build one of torchvision's networks with random weights. Raises ArchitectureError for an unknown name."""
    if architecture not in torchvision_names():
        raise unknown_architecture(architecture, torchvision_names())
    arguments: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        # The weights want the transform; the auxiliary heads are for training from nothing.
        arguments = {"aux_logits": False, "transform_input": True, "init_weights": True}
    if architecture.startswith("vit_"):
        # A vision transformer is built for one size: that of its default weights.
        default = torchvision.models.get_model_weights(architecture).DEFAULT
        arguments = {"image_size": default.transforms().crop_size[0]}
    model: nn.Module = torchvision.models.get_model(architecture, weights=None, **arguments)
    return model


def torchvision_names() -> list[str]:
    """List torchvision's classification networks."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def unknown_architecture(architecture: str, known: list[str]) -> ArchitectureError:
    """Name the nearest known network."""
    near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.4)
    return ArchitectureError(
        f"arch={architecture}: unknown network; expected a torchvision classification network or timm/NAME, "
        f"such as {', '.join(near or ['resnet50', DEFAULT_ARCHITECTURE])}"
    )


def load_state(model: nn.Module, state: dict[str, torch.Tensor], architecture: str) -> None:
    """Load a network's original weights. Raises WeightsError when they do not fit."""
    expected = model.state_dict()
    # Auxiliary heads are no part of the network that is served.
    state = {name: tensor for name, tensor in state.items() if name in expected or not name.lower().startswith("aux")}
    if architecture.startswith("densenet"):
        # torchvision's files for these are older than its code: `norm.1` is now `norm1`
        state = {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", name): tensor for name, tensor in state.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"weights do not fit arch={architecture}: {reason}") from error


def cut_torchvision(model: nn.Module) -> Backbone:
    """Replace the last linear layer of a torchvision network by the identity."""
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        return cut_squeezenet(model)
    name, head = linear[-1]
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
    return Backbone(model, head.in_features, head)


def cut_squeezenet(model: nn.Module) -> Backbone:
    """Cut SqueezeNet, whose last layer is a convolution: pool its 512 channels instead."""
    model.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return Backbone(model, 512, None)


def cut_timm(model: nn.Module) -> Backbone:
    """Reset the classifier of a timm network, which then returns its pooled features."""
    head = model.get_classifier()  # type: ignore[operator]
    model.reset_classifier(0)  # type: ignore[operator]
    if isinstance(head, nn.Linear):
        return Backbone(model, head.in_features, head)
    num_features = getattr(model, "head_hidden_size", None) or model.num_features
    return Backbone(model, int(num_features), None)  # type: ignore[arg-type]
