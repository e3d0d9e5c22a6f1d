"""The hyperparameters of a training job. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from container.settings import setting

Strategy = Literal["auto", "linear_probe", "finetune", "lp_ft"]


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters; `auto` stands for a value that the job chooses and logs."""

    arch: str = setting(
        "timm/tf_efficientnet_lite0", "Network: a torchvision classification network, or timm/NAME.", example="resnet50"
    )
    pretrained: bool = setting(
        True, "Start from ImageNet weights; random weights otherwise.", aliases=("use_pretrained_model",)
    )
    num_classes: int | None = setting(
        None, "Number of classes that the photographs must have. auto takes what is there.", unit="classes",
        interval="[2, 100000]", example="133",
    )  # fmt: skip
    strategy: Strategy = setting(
        "auto",
        "linear_probe trains the head on frozen features, finetune all layers, lp_ft the one and then the other. "
        "auto is lp_ft on a GPU and linear_probe on a CPU.",
        example="linear_probe",
    )
    epochs: int | None = setting(
        None, "Epochs of the strategy's last stage. auto is 100 for the head, 5 for all layers.", unit="epochs",
        interval="[1, 10000]", example="5",
    )  # fmt: skip
    batch_size: int | None = setting(
        None, "Images in a step. auto is 32, or searched.", unit="images", interval="[1, 4096]", example="32",
        aliases=("mini_batch_size",), tuning="[16, 512] Logarithmic",
    )  # fmt: skip
    lr: float | None = setting(
        None, "Peak learning rate of the strategy's last stage. auto is 0.01 for the head, 0.0003 for all layers.",
        interval="(0, 1]", example="0.001", aliases=("learning_rate",), tuning="[0.0001, 0.1] Logarithmic",
    )  # fmt: skip
    weight_decay: float | None = setting(
        None, "Decoupled weight decay (AdamW). auto is 0.01, or searched.", interval="[0, 10]", example="0.01",
        tuning="[0.001, 1] Logarithmic",
    )  # fmt: skip
    label_smoothing: float | None = setting(
        None, "Share of the label spread over all classes. auto is 0, or searched.", interval="[0, 1)", example="0.1",
        tuning="[0, 0.2] Linear",
    )  # fmt: skip
    search_trials: int = setting(
        1, "Heads that are trained together on the features; the best on validation is kept. What is not given of lr, "
        "weight_decay, batch_size and label_smoothing is searched.", unit="trials", interval="[1, 1024]", example="64",
    )  # fmt: skip
    validation_split: float = setting(
        0.2, "Share of the training photographs that validate when there is no validation channel.", interval="(0, 1)"
    )
    max_unreadable: float = setting(
        0.05, "Share of unreadable photographs up to which they are skipped.", interval="[0, 1]"
    )
    num_workers: int | None = setting(
        None, "Processes that decode photographs in fine-tuning. auto is one a core.", interval="[0, 256]", example="2"
    )
    seed: int = setting(0, "Seed of every random choice.", interval="[0, 4294967295]")
