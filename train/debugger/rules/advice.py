"""Which hyperparameters to set to what."""

from train.debugger.record import Record
from train.debugger.rules.measures import hyperparameter

LOWEST_LR, USUAL_LR, HIGHEST_LR = 1e-6, 0.0003, 1.0
"""Below the first nothing is learnt; the second is adamw's default; above the third train takes none."""


def settings(record: Record, **wanted: object) -> str:
    """Write hyperparameters as `name=value, ...`, without those that the job has already."""
    return ", ".join(
        f"{name}={value}"
        for name, value in wanted.items()
        if value is not None and str(hyperparameter(record, name)).lower() != str(value)
    )


def change(record: Record, stage: str, lr_factor: float, **others: object) -> str:
    """Advise a learning rate, so many times the highest of a stage, and other hyperparameters."""
    lr = peak_lr(record, stage)
    times = None if lr is None else f"{rounded(min(lr_factor * lr, HIGHEST_LR)):g}"
    return f"Set {settings(record, lr=times, **others) or 'another lr'}."


def learn_less(record: Record, stage: str, **others: object) -> str:
    """Advise smaller steps."""
    clip = "1.0" if hyperparameter(record, "max_grad_norm") is None else None
    return change(record, stage, 0.1, max_grad_norm=clip, **others)


def learn_more(record: Record, stage: str) -> str:
    """Advise larger steps."""
    lr = peak_lr(record, stage)
    if lr is not None and lr < LOWEST_LR:
        return f"The highest learning rate was {lr:g}: leave lr to the job, or set lr={USUAL_LR}."
    unfrozen = "1.0" if hyperparameter(record, "layer_decay") is not None else None
    return (
        f"If these layers are to learn: {change(record, stage, 10, layer_decay=unfrozen)[:-1]}; see what freezes them."
    )


def peak_lr(record: Record, stage: str) -> float | None:
    """Give the highest learning rate of a stage's steps; None where it is not known."""
    lr = record.steps.of(stage).lr
    positive = lr[lr > 0]
    return float(positive.max()) if len(positive) else None


def rounded(value: float) -> float:
    """Round to one significant digit, as advice is no measurement."""
    return float(f"{value:.0e}")
