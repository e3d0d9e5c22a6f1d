"""The rules' names, what each computes, and their parameters as hyperparameters `rule_RULE_PARAMETER`.

Names and defaults are those of SageMaker Debugger's built-in rules (developer guide, "List of Debugger Built-in
Rules"), and for the rules on time and machine those that smdebug-rulesconfig 1.0.1 sends. Where a parameter says
"Kennel's own", AWS has none for it. AWS's parameters that name tensors by regular expression are left out: the recorder
knows which tensor is what. Imports the standard library only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from container.settings import build, group
from train.debugger.machine_parameters import (
    BatchSize,
    CPUBottleneck,
    Dataloader,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    MaxInitializationTime,
    OverallFrameworkMetrics,
    OverallSystemUsage,
    StalledTraining,
    StepOutlier,
)
from train.debugger.training_parameters import (
    AllZero,
    CheckInputImages,
    ClassImbalance,
    Confusion,
    DeadRelu,
    ExplodingTensor,
    Leakage,
    LossNotDecreasing,
    Overfit,
    Overtraining,
    PoorWeightInitialization,
    SaturatedActivation,
    TensorVariance,
    UnchangedTensor,
    UnreadablePhotographs,
    VanishingGradient,
    WeightUpdateRatio,
)

PREFIX = "rule_"
"""Of the hyperparameters that are parameters of rules."""

StoppingRule = Literal[
    "VanishingGradient",
    "ExplodingTensor",
    "DeadRelu",
    "SaturatedActivation",
    "PoorWeightInitialization",
    "WeightUpdateRatio",
    "UnchangedTensor",
    "TensorVariance",
    "AllZero",
    "LossNotDecreasing",
    "Overfit",
    "Overtraining",
    "ClassImbalance",
    "CheckInputImages",
    "Leakage",
    "UnreadablePhotographs",
    "StalledTraining",
    "BatchSize",
    "CPUBottleneck",
    "Dataloader",
    "GPUMemoryIncrease",
    "IOBottleneck",
    "LoadBalancing",
    "LowGPUUtilization",
    "MaxInitializationTime",
    "StepOutlier",
]
"""The rules that can end a job: those that fire while it trains."""


def snake_case(rule: str) -> str:
    """Write a rule's name as hyperparameters do: `cpu_bottleneck` for CPUBottleneck."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", rule).lower()


def rule(parameters: type) -> Any:
    """Declare the field of a rule, whose hyperparameters begin with its name."""
    return group(parameters, f"{snake_case(parameters.__name__)}_")


@dataclass(frozen=True)
class RuleSettings:
    """The parameters of every rule; a field's name is the rule's in small letters."""

    vanishing_gradient: VanishingGradient = rule(VanishingGradient)
    exploding_tensor: ExplodingTensor = rule(ExplodingTensor)
    dead_relu: DeadRelu = rule(DeadRelu)
    saturated_activation: SaturatedActivation = rule(SaturatedActivation)
    poor_weight_initialization: PoorWeightInitialization = rule(PoorWeightInitialization)
    weight_update_ratio: WeightUpdateRatio = rule(WeightUpdateRatio)
    unchanged_tensor: UnchangedTensor = rule(UnchangedTensor)
    tensor_variance: TensorVariance = rule(TensorVariance)
    all_zero: AllZero = rule(AllZero)
    loss_not_decreasing: LossNotDecreasing = rule(LossNotDecreasing)
    overfit: Overfit = rule(Overfit)
    overtraining: Overtraining = rule(Overtraining)
    class_imbalance: ClassImbalance = rule(ClassImbalance)
    confusion: Confusion = rule(Confusion)
    check_input_images: CheckInputImages = rule(CheckInputImages)
    leakage: Leakage = rule(Leakage)
    unreadable_photographs: UnreadablePhotographs = rule(UnreadablePhotographs)
    stalled_training: StalledTraining = rule(StalledTraining)
    batch_size: BatchSize = rule(BatchSize)
    cpu_bottleneck: CPUBottleneck = rule(CPUBottleneck)
    dataloader: Dataloader = rule(Dataloader)
    gpu_memory_increase: GPUMemoryIncrease = rule(GPUMemoryIncrease)
    io_bottleneck: IOBottleneck = rule(IOBottleneck)
    load_balancing: LoadBalancing = rule(LoadBalancing)
    low_gpu_utilization: LowGPUUtilization = rule(LowGPUUtilization)
    max_initialization_time: MaxInitializationTime = rule(MaxInitializationTime)
    overall_system_usage: OverallSystemUsage = rule(OverallSystemUsage)
    overall_framework_metrics: OverallFrameworkMetrics = rule(OverallFrameworkMetrics)
    step_outlier: StepOutlier = rule(StepOutlier)

    @classmethod
    def of_job(cls, hyperparameters: Mapping[str, Any]) -> "RuleSettings":
        """Take the parameters that a job was given; the others have their defaults."""
        return build(cls, hyperparameters, PREFIX)
