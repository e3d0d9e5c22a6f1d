"""The hyperparameters of a training job. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from container.settings import group, setting
from train.debugger.rule_settings import PREFIX, RuleSettings, StoppingRule

Strategy = Literal["auto", "linear_probe", "finetune", "lp_ft"]
OptimizerName = Literal["adamw", "adam", "sgd", "nag", "rmsprop", "adagrad", "adadelta"]
ScheduleName = Literal["cosine", "step", "constant", "one_cycle"]
Augmentation = Literal["none", "crop_flip", "trivial_augment", "rand_augment"]
ClassBalance = Literal["none", "loss", "sampling"]
Precision = Literal["auto", "float32", "bf16", "fp16"]


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
        interval="[1, 100000]", example="133",
    )  # fmt: skip
    multi_label: bool | None = setting(
        None, "Photographs have any number of labels, not one each. auto takes what the labels are.", example="true",
    )  # fmt: skip
    strategy: Strategy = setting(
        "auto",
        "linear_probe trains the head on frozen features, finetune all layers, lp_ft the one and then the other. "
        "auto is lp_ft on a GPU and linear_probe on a CPU.",
        example="linear_probe",
    )
    epochs: int | None = setting(
        None, "Epochs of the strategy's last stage. auto is 20 to 100 for the head, by the number of photographs, "
        "and 5 for all layers.", unit="epochs",
        interval="[1, 10000]", example="5",
    )  # fmt: skip
    batch_size: int | None = setting(
        None, "Images in a step. auto is 32, or searched.", unit="images", interval="[1, 4096]", example="32",
        aliases=("mini_batch_size",), tuning="[16, 512] Logarithmic",
    )  # fmt: skip
    lr: float | None = setting(
        None, "Peak learning rate of the strategy's last stage. auto is 0.01 for the head; for all layers 0.0003 with "
        "adamw and adam, 0.003 with adagrad, 0.01 with sgd and nag, 0.0001 with rmsprop, 1 with adadelta, and a tenth "
        "of that in lp_ft.",
        interval="(0, 1]", example="0.001", aliases=("learning_rate",), tuning="[0.0001, 0.1] Logarithmic",
    )  # fmt: skip
    weight_decay: float | None = setting(
        None, "Weight decay, not on biases and norms: decoupled with adamw, added to the gradient with others. auto is "
        "0.01, or searched.", interval="[0, 10]", example="0.01",
        tuning="[0.001, 1] Logarithmic",
    )  # fmt: skip
    label_smoothing: float | None = setting(
        None, "Share of the label spread over all classes. auto is 0, or searched.", interval="[0, 1)", example="0.1",
        tuning="[0, 0.2] Linear",
    )  # fmt: skip
    num_views: int = setting(
        1, "Views of each training photograph whose features train the head: as served, mirrored, then random crops.",
        unit="views", interval="[1, 64]", example="2",
    )  # fmt: skip
    search_trials: int | None = setting(
        None, "Heads that are trained together on the features; the mean of the best few on validation is kept. What "
        "is not given of lr, weight_decay, batch_size and label_smoothing is searched. auto is 1 to 32, as many as "
        "take a few seconds.",
        unit="trials", interval="[1, 1024]", example="64",
    )  # fmt: skip
    validation_split: float = setting(
        0.2, "Share of the training photographs that validate when there is no validation channel.", interval="(0, 1)"
    )
    max_unreadable: float = setting(
        0.05, "Share of unreadable photographs up to which they are skipped.", interval="[0, 1]"
    )
    num_workers: int | None = setting(
        None,
        "Processes that decode photographs in fine-tuning. auto is one a core, as many as /dev/shm allows.",
        interval="[0, 256]",
        example="2",
    )
    seed: int = setting(0, "Seed of every random choice.", interval="[0, 4294967295]")

    # Fine-tuning (finetune and the second stage of lp_ft)
    optimizer: OptimizerName = setting("adamw", "Optimizer of all layers; nag is sgd with Nesterov's momentum.")
    momentum: float = setting(0.9, "Momentum of sgd, nag and rmsprop.", interval="[0, 0.999]")
    beta_1: float = setting(0.9, "Decay of the mean of gradients, in adamw and adam.", interval="[0, 0.999999]")
    beta_2: float = setting(
        0.999, "Decay of the mean of squared gradients, in adamw and adam.", interval="[0, 0.999999]"
    )
    eps: float | None = setting(
        None, "Added to the denominator of adamw, adam, rmsprop, adagrad and adadelta. auto is the library's value.",
        interval="[1e-10, 1]", example="1e-8",
    )  # fmt: skip
    lr_schedule: ScheduleName = setting("cosine", "How the learning rate falls from its peak.")
    lr_warmup_epochs: float | None = setting(
        None, "Epochs in which the learning rate rises to its peak. auto is 5 % of all steps, 30 % in one_cycle.",
        unit="epochs", interval="[0, 1000]", example="0.5",
    )  # fmt: skip
    lr_gamma: float = setting(0.1, "Factor of the learning rate in lr_schedule=step.", interval="(0, 1]")
    lr_step_epochs: int | None = setting(
        None, "Epochs between two falls in lr_schedule=step. auto is a third of all.", unit="epochs",
        interval="[1, 10000]", example="10",
    )  # fmt: skip
    layer_decay: float = setting(
        1.0, "Factor of the learning rate from each block of the backbone to the one before it.", interval="(0, 1]"
    )
    gradient_accumulation_steps: int = setting(
        1, "Batches whose gradients are averaged before a step.", unit="batches", interval="[1, 1024]"
    )
    max_grad_norm: float | None = setting(
        None, "Norm to which gradients are clipped. auto is no clipping.", interval="(0, inf)", example="1.0"
    )
    ema_decay: float | None = setting(
        None, "Decay of the moving average of the weights, which is then evaluated and saved. auto is no average.",
        interval="[0, 1)", example="0.999",
    )  # fmt: skip
    early_stopping_patience: int | None = setting(
        None, "Epochs without a lower validation loss after which training ends. auto is all epochs.", unit="epochs",
        interval="[1, 10000]", example="5",
    )  # fmt: skip
    early_stopping_min_delta: float = setting(
        0.0, "Fall of the validation loss that counts for early_stopping_patience.", unit="nats", interval="[0, 100]"
    )
    freeze_batch_norm: bool | None = setting(
        None, "Normalise batches with the pretrained weights' statistics, as serving does, not with each batch's. "
        "auto is yes with pretrained weights.", example="true",
    )  # fmt: skip
    augmentation: Augmentation = setting(
        "crop_flip",
        "none trains on what serving sees; the others on random crops and flips, the last two with a policy.",
    )
    mixup_alpha: float = setting(0.0, "Mixes pairs of images: Beta(alpha, alpha); 0 is off.", interval="[0, 10]")
    cutmix_alpha: float = setting(
        0.0, "Pastes a part of another image: Beta(alpha, alpha); 0 is off.", interval="[0, 10]"
    )
    class_balance: ClassBalance = setting(
        "none",
        "loss weighs classes, sampling draws photographs, by the inverse of the class's photographs; with several "
        "labels loss weighs what is there against what is not, and sampling goes by the rarest label.",
    )
    precision: Precision = setting(
        "auto", "Arithmetic. auto is bf16 on CUDA that has it, fp16 on other CUDA, float32 on a CPU."
    )
    compile: bool = setting(False, "Compile the network with torch.compile; minutes at first, then faster steps.")
    photograph_cache: bool | None = setting(
        None, "Keep decoded photographs on disk for later epochs. auto is yes where they fit half of the free disk and "
        "of the free memory.", example="true",
    )  # fmt: skip
    checkpoint_interval: int | None = setting(
        None, "Updates of all layers from one checkpoint to the next; the end of an epoch writes one too. auto is a "
        "minute, and the ends of epochs as long as that takes under 5 % of the time.", unit="steps",
        interval="[1, 1000000]", example="500",
    )  # fmt: skip

    # What the job tells of itself
    recorder: bool = setting(
        True, "Record times of steps, statistics of tensors and use of the machine in output/data/record.jsonl."
    )
    record_interval: int | None = setting(
        None, "Steps between two statistics of weights, gradients and activations. auto is a quarter of an epoch, or "
        "more where they would take over 1 % of the time.", unit="steps", interval="[1, 1000000]", example="50",
    )  # fmt: skip
    trace_steps: int | None = setting(
        None, "Steps that torch's profiler traces in output/data/trace.json.gz; 0 is none. auto is 3 where fine-tuning "
        "takes over a minute.", unit="steps", interval="[0, 100]", example="3",
    )  # fmt: skip
    tensorboard: bool = setting(False, "Write event files for TensorBoard to output/tensorboard.")
    instance_price_per_hour: float | None = setting(
        None, "Price of an hour of the instance, for the report.", interval="[0, 100000]", example="1.21"
    )
    stop_on: tuple[StoppingRule, ...] = setting(
        (), "Rules of docs/rules.md that end training when they find trouble; the best model so far is kept.",
        example="ExplodingTensor,LossNotDecreasing",
    )  # fmt: skip
    rules: RuleSettings = group(RuleSettings, PREFIX)
