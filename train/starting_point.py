"""Where training begins: random or pretrained weights, or a model of ours or of others in the channel `model`."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from classifier.architectures import Network, create_network
from classifier.artifact import MANIFEST, ModelArtifact, read_artifact
from classifier.preprocessing import Preprocessing
from classifier.tasks import Task
from classifier.weights import default_preprocessing, load_pretrained
from container.errors import UserError
from train.unpack import unpack

logger = logging.getLogger(__name__)

ARCHIVE = "model.tar.gz"


@dataclass(frozen=True)
class StartingPoint:
    """A network before training."""

    network: Network
    preprocessing: Preprocessing
    has_head: bool = False
    """Whether the head tells the job's classes already."""


def find_starting_point(
    arch: str,
    class_names: tuple[str, ...],
    task: Task,
    channel: Path | None,
    baked: Sequence[Path],
    *,
    pretrained: bool,
) -> StartingPoint:
    """Build the network with the weights that there are: of an artifact in the channel, else pretrained or random ones.

    The channel may hold model.tar.gz, as a job leaves it. Raises UserError for an artifact of another network or an
    archive that is not safe, WeightsError for none.
    """
    with tempfile.TemporaryDirectory(prefix="kennel-model-") as temporary:
        if channel is not None and (channel / ARCHIVE).is_file():
            unpack(channel / ARCHIVE, Path(temporary))
            logger.info("%s: unpacked", channel / ARCHIVE)
            channel = Path(temporary)
        if channel is not None and ((channel / MANIFEST).is_file() or len(list(channel.glob(f"*/{MANIFEST}"))) == 1):
            return from_artifact(read_artifact(channel), arch, class_names, task)
        if not pretrained:
            return StartingPoint(create_network(arch, len(class_names)), default_preprocessing(arch))
        found = load_pretrained(arch, [*([channel] if channel else []), *baked])
        logger.info("weights of %s: %s", arch, found.source)
        return StartingPoint(create_network(arch, len(class_names), found.state), found.preprocessing)


def from_artifact(artifact: ModelArtifact, arch: str, class_names: tuple[str, ...], task: Task) -> StartingPoint:
    """Take the backbone of an artifact, and its head where it has the same classes, in whatever order."""
    if artifact.architecture != arch:
        raise UserError(
            f"channel model: an artifact of arch={artifact.architecture}, and this job has arch={arch}; set "
            f"arch={artifact.architecture}, or leave the channel out"
        )
    network = create_network(arch, len(class_names))
    state = load_file(artifact.weights)
    known = {name: place for place, name in enumerate(artifact.class_names)}
    has_head = set(known) == set(class_names) and artifact.task == task
    if has_head:
        order = torch.tensor([known[name] for name in class_names])
        state |= {name: state[name][order] for name in ("head.weight", "head.bias")}
        logger.info("channel model: an artifact with the same %d classes; its backbone and head go on", len(known))
    else:
        state |= {f"head.{name}": tensor for name, tensor in network.head.state_dict().items()}
        added, missing = set(class_names) - set(known), set(known) - set(class_names)
        logger.info(
            "channel model: an artifact with %s (%d new, %d gone); its backbone goes on, with a new head",
            "other classes" if added or missing else "another kind of labels", len(added), len(missing),
        )  # fmt: skip
    network.load_state_dict(state)
    return StartingPoint(network, artifact.preprocessing, has_head)
