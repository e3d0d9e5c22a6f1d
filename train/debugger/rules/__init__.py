"""The rules: each judges the record of a job, and changes nothing.

results = evaluate_rules(read_record(file), RuleSettings())
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields

from train.debugger.record import Record
from train.debugger.rule_settings import RuleSettings
from train.debugger.rules import batches, data, initialization, losses, machine, memory, steps, tensors
from train.debugger.rules.result import Judge, RuleResult, Severity, Status, result

__all__ = ["JUDGES", "RuleResult", "Severity", "Status", "evaluate_rules"]

JUDGES: Mapping[str, Judge] = {
    "vanishing_gradient": tensors.vanishing_gradient,
    "exploding_tensor": tensors.exploding_tensor,
    "dead_relu": tensors.dead_relu,
    "saturated_activation": tensors.saturated_activation,
    "poor_weight_initialization": initialization.poor_weight_initialization,
    "weight_update_ratio": tensors.weight_update_ratio,
    "unchanged_tensor": tensors.unchanged_tensor,
    "tensor_variance": tensors.tensor_variance,
    "all_zero": tensors.all_zero,
    "loss_not_decreasing": losses.loss_not_decreasing,
    "overfit": losses.overfit,
    "overtraining": losses.overtraining,
    "class_imbalance": data.class_imbalance,
    "confusion": data.confusion,
    "check_input_images": data.check_input_images,
    "leakage": data.leakage,
    "unreadable_photographs": data.unreadable_photographs,
    "stalled_training": steps.stalled_training,
    "batch_size": batches.batch_size,
    "cpu_bottleneck": machine.cpu_bottleneck,
    "dataloader": batches.dataloader,
    "gpu_memory_increase": memory.gpu_memory_increase,
    "io_bottleneck": machine.io_bottleneck,
    "load_balancing": machine.load_balancing,
    "low_gpu_utilization": machine.low_gpu_utilization,
    "max_initialization_time": steps.max_initialization_time,
    "overall_system_usage": machine.overall_system_usage,
    "overall_framework_metrics": steps.overall_framework_metrics,
    "step_outlier": steps.step_outlier,
}
"""By the name of the rule's parameters in RuleSettings."""


def evaluate_rules(record: Record, settings: RuleSettings, names: Iterable[str] = JUDGES) -> list[RuleResult]:
    """Judge a record by the named rules, in the order of RuleSettings."""
    chosen = set(names)
    parameters = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name in chosen}
    return [result(given, JUDGES[name](record, given)) for name, given in parameters.items()]
