"""Networks by name, with the head replaced."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from classifier.architectures import (
    NUM_IMAGENET_CLASSES,
    create_backbone,
    create_network,
    create_torchvision,
    cut_torchvision,
    torchvision_names,
)
from classifier.errors import ArchitectureError, WeightsError
from classifier.weights import default_preprocessing

LAST_LAYER_IS_NOT_LINEAR = {"squeezenet1_0", "squeezenet1_1"}


SMALL_ENOUGH = set(torchvision_names()) - {"regnet_y_128gf"}
"""All but one, whose copy in memory takes 2.6 GB; it is the same code as the other regnets."""


@pytest.mark.parametrize("architecture", sorted(SMALL_ENOUGH))
def test_every_torchvision_network_is_cut_at_its_classifier(architecture: str) -> None:
    # Regnets compute their widths with tensors and so cannot be built without data.
    with torch.device("cpu" if architecture.startswith("regnet") else "meta"):
        backbone = cut_torchvision(create_torchvision(architecture))
    if architecture in LAST_LAYER_IS_NOT_LINEAR:
        assert backbone.head is None
    else:
        assert backbone.head is not None
        assert backbone.head.out_features == NUM_IMAGENET_CLASSES
    size = default_preprocessing(architecture).crop_size
    features = backbone.module.eval().to("meta")(torch.zeros(2, 3, size, size, device="meta"))
    assert features.shape == (2, backbone.num_features)


@pytest.mark.parametrize(
    "architecture", ["resnet18", "googlenet", "squeezenet1_1", "timm/resnet18", "timm/vit_tiny_patch16_224"]
)
def test_a_new_head_starts_from_equal_probabilities(architecture: str) -> None:
    network = create_network(architecture, 3).eval()
    with torch.no_grad():
        logits = network(torch.rand(2, 3, 224, 224))
    assert logits.shape == (2, 3)
    assert (logits == 0).all()


def test_original_weights_give_the_original_outputs() -> None:
    original = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    backbone = create_backbone("timm/tf_efficientnet_lite0", dict(original.state_dict()))
    assert isinstance(backbone.head, nn.Linear)
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(backbone.head(backbone.module.eval()(images)), original(images))


def test_freezing_leaves_the_head_to_train() -> None:
    network = create_network("resnet18", 4)
    network.set_frozen(True)
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trainable == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("name", "near"), [("resnet51", "resnet50"), ("timm/resnet51", "timm/resnet50"), ("x", "resnet50")]
)
def test_an_unknown_network_names_known_ones(name: str, near: str) -> None:
    with pytest.raises(ArchitectureError, match=near):
        create_network(name, 2)


def test_weights_of_another_network_are_refused() -> None:
    state = dict(torchvision.models.get_model("resnet18", weights=None).state_dict())
    with pytest.raises(WeightsError, match="do not fit arch=resnet34"):
        create_network("resnet34", 2, state)
