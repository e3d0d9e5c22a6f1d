"""The corpus: training runs that are ill in one known way each, and healthy ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import corpus_illnesses as ill
import torch
from corpus_illnesses import Change, Illness
from corpus_photographs import Data

RESNET, BYOBNET, EFFICIENTNET, VIT, CONVNEXT = (
    f"timm/test_{name}" for name in ("resnet", "byobnet", "efficientnet", "vit", "convnext")
)
LITE0 = "timm/tf_efficientnet_lite0"

SMALL = Data(train=(60, 60), validation=(20, 20), test=(20, 20))


@dataclass(frozen=True)
class Case:
    """A training run of the corpus."""

    name: str
    rule: str = ""
    """The rule that must name the illness; empty for a healthy run."""
    also: tuple[str, ...] = ()
    """Rules of which any may name it instead."""
    network: str = RESNET
    settings: Mapping[str, object] = field(default_factory=dict)
    data: Data = Data()
    weights: tuple[Change, ...] = ()
    illness: tuple[Illness, ...] = ()
    num_busy: int = 0
    """Processes beside the job that take the processor."""

    def hyperparameters(self) -> dict[str, str]:
        """Write the job's hyperparameters; the network of the corpus stands for timm's."""
        settings: dict[str, object] = {
            "arch": self.network if "/" in self.network else RESNET, "pretrained": False, "strategy": "finetune",
            "epochs": 4, "batch_size": 16, "lr": 0.003, "num_workers": 0, "trace_steps": 0, **self.settings,
        }  # fmt: skip
        return {name: str(value) for name, value in settings.items() if value is not None}

    def infect(self) -> None:
        """Make this process's job ill."""
        if self.network != LITE0:
            ill.prepare(self.network, *self.weights)
        for illness in self.illness:
            illness()


PROBE = {"strategy": "linear_probe", "epochs": 20, "lr": None, "batch_size": None}

LEARNING = (
    Case("lr 100, SGD", "ExplodingTensor", ("LossNotDecreasing",), "plain", {"optimizer": "sgd"},
         illness=(ill.recipe(lr=100.0),)),
    Case("lr 100, SGD, batch norm", "LossNotDecreasing", ("ExplodingTensor",), RESNET, {"optimizer": "sgd"},
         illness=(ill.recipe(lr=100.0),)),
    Case("lr 100, AdamW", "LossNotDecreasing", ("ExplodingTensor",), "plain", illness=(ill.recipe(lr=100.0),)),
    Case("lr 100, AdamW, transformer", "LossNotDecreasing", ("ExplodingTensor",), VIT,
         illness=(ill.recipe(lr=100.0),)),
    Case("lr 1e-12, residual network", "UnchangedTensor", settings={"lr": 1e-12}),
    Case("lr 1e-12, transformer", "UnchangedTensor", (), VIT, {"lr": 1e-12}),
    Case("lr 1e-12, plain network, SGD", "WeightUpdateRatio", (), "plain", {"lr": 1e-12, "optimizer": "sgd"}),
    Case("lr 1e-6, many steps", "LossNotDecreasing", (), "plain", {"lr": 1e-6, "epochs": 12, "batch_size": 8}),
    Case("labels change from epoch to epoch", "LossNotDecreasing", (), RESNET,
         {"lr": 0.001, "epochs": 12, "batch_size": 8}, illness=(ill.random_labels,)),
    Case("network does not look at the image", "LossNotDecreasing", (), "plain", {"epochs": 12, "batch_size": 8},
         illness=(ill.ignore_images,)),
    Case("weight decay crushes weights", "WeightUpdateRatio", (), "plain",
         {"optimizer": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 9.7, "lr_schedule": "constant",
          "lr_warmup_epochs": 0, "record_interval": 1}),
    Case("labels wrong, learnt by heart", "Overfit", (), RESNET, {"epochs": 30, "augmentation": "none"},
         replace(SMALL, wrong_labels=0.9)),
    Case("few photographs, learnt by heart", "Overfit", (), RESNET,
         {"epochs": 40, "batch_size": 8, "augmentation": "none"},
         Data((12, 12, 12), (30, 30, 30), (5, 5, 5), noise=110, wrong_labels=0.7)),
    Case("trains on and on", "Overtraining", (), RESNET, {"epochs": 40, "lr": 0.01, "augmentation": "none"},
         replace(SMALL, noise=10)),
)  # fmt: skip

NUMBERS = (
    Case("dead ReLUs, plain network", "DeadRelu", (), "plain", weights=(ill.kill_relus,)),
    Case("dead ReLUs, batch norm", "DeadRelu", (), RESNET, weights=(ill.kill_relus,)),
    Case("saturated tanh", "SaturatedActivation", (), "tanh", weights=(ill.saturate,)),
    Case("saturated sigmoid", "SaturatedActivation", (), "sigmoid", weights=(ill.saturate,)),
    Case("deep sigmoid network", "VanishingGradient", (), "deep_sigmoid"),
    Case("weights a thousandth", "VanishingGradient", (), "plain", {"lr": 1e-5}, weights=(ill.scale_weights(1e-3),)),
    Case("weights thirty times too large", "PoorWeightInitialization", (), "plain",
         weights=(ill.scale_weights(30), ill.large_head)),
    Case("weights ten times too large, SGD", "PoorWeightInitialization", (), "plain", {"optimizer": "sgd", "lr": 1e-4},
         SMALL, (ill.scale_weights(10), ill.large_head)),
    Case("fp16 explodes", "ExplodingTensor", (), "plain", {"precision": "fp16"}, weights=(ill.scale_weights(60),)),
    Case("images divided by zero", "ExplodingTensor", (), RESNET, illness=(ill.images(lambda x: x / 0),)),
    Case("a weight is no number", "ExplodingTensor", (), RESNET, weights=(ill.fill(float("nan")),)),
    Case("layers frozen by layer_decay", "UnchangedTensor", (), RESNET,
         {"layer_decay": 0.001, "lr": 0.0001, "weight_decay": 0}),
    Case("backbone cut off", "UnchangedTensor", (), "plain", {"lr": 0.01}, illness=(ill.detach_backbone,)),
    Case("optimizer without the backbone", "UnchangedTensor", (), RESNET, illness=(ill.forget_parameters,)),
    Case("images all zero", "AllZero", (), "plain", illness=(ill.images(torch.zeros_like),)),
    Case("images not normalised", "CheckInputImages", (), RESNET, illness=(ill.images(lambda x: x * 60 + 120),)),
    Case("all weights and biases zero", "AllZero", (), "plain", weights=(ill.fill(0.0),)),
)  # fmt: skip

PHOTOGRAPHS = (
    Case("black photographs", "CheckInputImages", (), RESNET, data=replace(SMALL, is_black=True)),
    Case("black photographs, probe", "LossNotDecreasing", (), RESNET, PROBE, replace(SMALL, is_black=True)),
    Case("leak into test", "Leakage", (), "plain", data=Data(leaked=10)),
    Case("leak into validation", "Leakage", (), "plain", data=Data(leaked=10, leaks_into="validation")),
    Case("leak into test, probe", "Leakage", (), RESNET, PROBE, Data(leaked=20)),
    Case("one of two thousand", "ClassImbalance", (), "plain", {"epochs": 1, "batch_size": 64},
         Data((2000, 1), (40, 5), (40, 5))),
    Case("one class of ten thousand, probe", "ClassImbalance", (), "plain", {**PROBE, "epochs": 2},
         Data((10000, 1), (40, 5), (40, 5), noise=20)),
    Case("rare class missed", "ClassImbalance", (), RESNET, data=Data((150, 150, 5), (20, 20, 20), (20, 20, 20), 120)),
    Case("two classes that are one", "Confusion", (), RESNET, {"epochs": 8}, Data(same=(1,))),
    Case("two classes that are one, probe", "Confusion", (), RESNET, PROBE, Data(same=(2,))),
    Case("unreadable photographs", "UnreadablePhotographs", (), "plain", data=Data(unreadable=8)),
    Case("unreadable photographs, probe", "UnreadablePhotographs", (), RESNET, PROBE, Data(unreadable=5)),
)  # fmt: skip

LONG = {"epochs": 6, "lr": 0.001}

SPEED = (
    Case("slow loader in the main process", "Dataloader", (), "plain",
         illness=(ill.in_loading(ill.sleep_each(1, 0.01)),)),
    Case("one slow loader", "Dataloader", (), "plain", {"num_workers": 1},
         illness=(ill.in_loading(ill.sleep_each(1, 0.02)),)),
    Case("six loaders on two cores", "Dataloader", (), RESNET, {"num_workers": 6}),
    Case("stalled step", "StalledTraining", (), "plain", illness=(ill.in_steps(ill.sleep_at(20, 13)),)),
    Case("stalled loader", "StalledTraining", (), "plain", illness=(ill.in_loading(ill.sleep_once(13)),)),
    Case("some slow steps", "StepOutlier", (), "plain", {"epochs": 6},
         illness=(ill.in_steps(ill.sleep_each(20, 0.8)),)),
    Case("a slow photograph", "StepOutlier", (), "plain", {"epochs": 6}, Data((120, 120, 120)),
         illness=(ill.in_loading(ill.sleep_at(89, 1.5)),)),
    Case("memory grows", "GPUMemoryIncrease", (), "plain", LONG,
         illness=(ill.in_steps(ill.keep_memory(8)), ill.in_steps(ill.sleep_each(1, 0.25)))),
    Case("memory of a loader grows", "GPUMemoryIncrease", (), "plain", {**LONG, "num_workers": 1},
         illness=(ill.in_loading(ill.keep_memory(1)), ill.in_steps(ill.sleep_each(1, 0.25)))),
    Case("other processes take the processor", "CPUBottleneck", (), RESNET, {"epochs": 12}, num_busy=4),
    Case("batch of two", "BatchSize", (), RESNET, {"batch_size": 2, "epochs": 2}),
    Case("batch of two, transformer", "BatchSize", (), VIT, {"batch_size": 2, "epochs": 2}),
    Case("slow start", "MaxInitializationTime", (), "plain", {"rule_max_initialization_time_threshold": 0.1},
         illness=(ill.slow_start(9),)),
)  # fmt: skip

HEALTHY = (
    Case("residual network"),
    Case("residual network, two classes", data=SMALL),
    Case("residual network, SGD", settings={"optimizer": "sgd", "lr": 0.05}),
    Case("residual network, label smoothing and mixup", settings={"label_smoothing": 0.1, "mixup_alpha": 0.2}),
    Case("residual network, moving average", settings={"ema_decay": 0.9, "epochs": 6}),
    Case("residual network, loaders", settings={"num_workers": 2}),
    Case("residual network, balanced classes", settings={"class_balance": "sampling"}, data=Data((120, 40, 40))),
    Case("plain network", network="plain", settings={"epochs": 8}),
    Case("plain network, two classes", network="plain", settings={"epochs": 8}, data=SMALL),
    Case("plain network, accumulation", network="plain", settings={"gradient_accumulation_steps": 2, "epochs": 8}),
    Case("tanh network", network="tanh", settings={"epochs": 8}),
    Case("byobnet", network=BYOBNET),
    Case("efficientnet", network=EFFICIENTNET),
    Case("transformer", network=VIT, settings={"lr": 0.001, "epochs": 6}),
    Case("transformer, layer-wise learning rates", network=VIT, settings={"layer_decay": 0.7, "lr": 0.003}),
    Case("convnext", network=CONVNEXT, settings={"lr": 0.002, "epochs": 6}),
    Case("probe", settings=PROBE),
    Case("probe, search of 8 trials", settings={**PROBE, "search_trials": 8}),
    Case("probe then fine-tuning", settings={"strategy": "lp_ft", "lr": 0.001}),
    Case("pretrained lite0, default job", network=LITE0,
         settings={"pretrained": True, **PROBE, "strategy": None, "epochs": None}, data=SMALL),
    Case("pretrained lite0, probe then fine-tuning", network=LITE0,
         settings={"pretrained": True, "strategy": "lp_ft", "epochs": 2, "lr": None}, data=SMALL),
    Case("pretrained lite0, probe with views", network=LITE0,
         settings={"pretrained": True, **PROBE, "num_views": 2}),
)  # fmt: skip

ILL = (*LEARNING, *NUMBERS, *PHOTOGRAPHS, *SPEED)
CASES = (*ILL, *HEALTHY)
