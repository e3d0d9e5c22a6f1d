"""Records of jobs of several kinds, made by hand, written and read by the real code."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from train.debugger.record import RECORD_NAME, Floats, Record, RecordWriter, read_record
from train.debugger.rules import RuleResult, Status

Row = dict[str, Any]

BLOCK = 500
UNREADABLE = [{"photograph": "/data/train/pug/9.jpg", "reason": "4 bytes are no image"}]
LAYERS = tuple(f"layer{index // 4 + 1}.{index % 4}.conv.weight" for index in range(16))


HOSTILE = (
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "$\\frac{", "%s {{ 7 * 7 }}", "n" * 10_000,
    "\x00\x1b[31m\n\u202eevil", "\udcff not utf-8", "ねこ 猫 🐱", "]]> --> &amp;", " ",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What a record is made of."""

    stage: str = "finetune"
    num_steps: int = 300
    steps_per_epoch: int = 60
    data_wait: float = 0.01
    """Seconds of a step; so is `compute`."""
    compute: float = 0.2
    batch_size: int = 32
    num_workers: int = 2
    num_gpus: int = 0
    gpu_use: Sequence[float] = ()
    num_samples: int = 240
    num_tensor_rows: int = 0
    class_names: Sequence[str] = ("Abyssinian", "Bengal", "Siamese", "beagle", "pug")
    photographs: Sequence[Path] = ()
    num_trials: int = 0
    has_ended: bool = True
    has_operators: bool = False
    leaks: Sequence[tuple[str, str]] = ()
    job: Row = field(default_factory=dict)
    seed: int = 0

    @property
    def seconds(self) -> float:
        """How long the job runs, about."""
        return 10 + self.num_steps * (self.data_wait + self.compute) * 1.1 + 12


def write(job: Job, directory: Path) -> Record:
    """Write the record of a job into its output directory, and read it."""
    directory.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter(directory / RECORD_NAME)
    writer.write(sorted(rows(job), key=lambda row: float(row["time"])))
    writer.close()
    return read_record(directory / RECORD_NAME)


def rows(job: Job) -> Iterator[Row]:
    """Make the lines of a record."""
    random = np.random.default_rng(job.seed)
    yield {"kind": "job", "time": 0.1, **_job(job)}
    yield {"kind": "data", "time": 1.0, **_data(job, random)}
    yield from _phases(job)
    yield {"kind": "stage", "time": 10.0, "stage": job.stage, "epochs": -(-job.num_steps // job.steps_per_epoch),
           "steps_per_epoch": job.steps_per_epoch, "batch_size": job.batch_size, "num_workers": job.num_workers,
           "log_interval": 10}  # fmt: skip
    yield from _steps(job, random)
    yield from _samples(job, random)
    yield from _tensors(job, random)
    yield from _trials(job, random)
    if job.has_operators:
        yield {
            "kind": "operators",
            "time": 20.0,
            "device": "cpu",
            "first_step": 10,
            "last_step": 15,
            "rows": _operators(),
        }
    if job.leaks:
        pairs = [{"photograph": a, "split": "train", "other": b, "other_split": "test"} for a, b in job.leaks]
        yield {"kind": "leak", "time": 2.0, "photographs": pairs, "count": len(pairs)}
    if job.has_ended:
        yield {"kind": "predictions", "time": job.seconds - 1, **_predictions(job, random)}
        yield {"kind": "end", "time": job.seconds, "status": "completed", "reason": ""}


def _job(job: Job) -> Row:
    return {
        "started_at": "2026-11-24T09:30:00+00:00",
        "hyperparameters": {"batch_size": job.batch_size, "num_workers": job.num_workers, "lr": None},
        "architecture": "timm/tf_efficientnet_lite0", "strategy": job.stage,
        "device": "cuda" if job.num_gpus else "cpu", "device_name": "NVIDIA A10G" if job.num_gpus else "AMD EPYC 9R14",
        "num_gpus": job.num_gpus, "num_cpus": 4,
        "memory_bytes": 16e9, "host": "algo-1", "num_hosts": 1, "instance_type": "", "instance_price_per_hour": None,
        "versions": {"torch": "2.15.0", "python": "3.11.2", "kennel": "0.1.0"}, **job.job,
    }  # fmt: skip


def _data(job: Job, random: np.random.Generator) -> Row:
    train = random.integers(40, 70, len(job.class_names))
    counts = {"train": train.tolist(), "validation": (train // 5).tolist(), "test": (train // 5).tolist()}
    return {
        "class_names": list(job.class_names),
        "unreadable": 1,
        "unreadable_photographs": UNREADABLE,
        "counts": counts,
    }


def _phases(job: Job) -> Iterator[Row]:
    end = job.seconds
    for name, start, stop in (
        ("imports", 0.0, 3.1), ("find photographs", 3.1, 3.4), ("weights", 3.4, 5.0), (job.stage, 5.0, end - 9),
        ("conversion", end - 9, end - 6), ("artifact", end - 6, end - 5), ("evaluation", end - 5, end - 1.2),
    ):  # fmt: skip
        yield {"kind": "phase", "time": max(stop, 0.2), "name": name, "start": start, "seconds": stop - start}


def _steps(job: Job, random: np.random.Generator) -> Iterator[Row]:
    clock, num_epochs = 10.0, -(-job.num_steps // job.steps_per_epoch)
    for epoch in range(1, num_epochs + 1):
        begun, first = clock, (epoch - 1) * job.steps_per_epoch
        last = min(job.num_steps, first + job.steps_per_epoch)
        for start in range(first, last, BLOCK):
            block = _block(job, random, np.arange(start, min(last, start + BLOCK)), clock)
            clock = block["end_time"][-1]
            yield {"kind": "steps", "time": clock, "stage": job.stage, "epoch": epoch, "first": start, **block}
        pause = 0.05 * (clock - begun)
        yield {
            "kind": "pause",
            "time": clock + pause,
            "name": "validation",
            "epoch": epoch,
            "start": clock,
            "seconds": pause,
        }
        clock += pause
        loss = 1.4 * np.exp(-1.2 * epoch / num_epochs * 2)
        yield {"kind": "epoch", "time": clock, "stage": job.stage, "epoch": epoch, "seconds": clock - begun, "lr": 1e-4,
               "train_loss": loss, "train_accuracy": 1 - loss / 2, "validation_loss": loss * 1.03 + 0.05,
               "validation_accuracy": 1 - loss / 1.9}  # fmt: skip


def _block(job: Job, random: np.random.Generator, numbers: np.ndarray, clock: float) -> Row:  # type: ignore[type-arg]
    count = len(numbers)

    def noise(scale: float) -> Floats:
        return scale * random.lognormal(0, 0.12, count)

    wait = noise(job.data_wait)
    wait[numbers % job.steps_per_epoch == 0] += 12 * job.data_wait + 0.2
    parts = {"data_wait": wait, "copy": noise(0.01 * job.compute), "forward": noise(0.33 * job.compute),
             "backward": noise(0.6 * job.compute), "optimizer": noise(0.05 * job.compute)}  # fmt: skip
    total = sum(parts.values()) * 1.02
    loss = 1.4 * np.exp(-2.4 * numbers / job.num_steps) * random.lognormal(0, 0.25, count)
    columns = {**parts, "total": total, "end_time": clock + np.cumsum(total), "loss": loss,
               "lr": 3e-4 * (1 + np.cos(np.pi * numbers / job.num_steps)) / 2}  # fmt: skip
    return {name: np.round(values, 6).tolist() for name, values in columns.items()} | {
        "num_images": [job.batch_size] * count
    }


def _samples(job: Job, random: np.random.Generator) -> Iterator[Row]:
    busy = 100 * job.compute / (job.compute + job.data_wait)
    for index, time in enumerate(np.linspace(0.5, job.seconds - 0.5, job.num_samples)):
        grown = 1 - np.exp(-6 * index / job.num_samples)
        cpu = np.clip(random.normal(busy if job.num_gpus == 0 else 45, 8, 4), 0, 100)
        gpu = [
            {"utilization": float(np.clip(random.normal(use, 8), 0, 100)), "memory": 20 + 30 * grown,
             "memory_bytes": 1e10 * grown, "power_watts": 150.0, "temperature": 60}
            for use in job.gpu_use
        ]  # fmt: skip
        yield {
            "kind": "system", "time": round(float(time), 3), "interval": 0.5, "cpu": np.round(cpu, 1).tolist(),
            "io_wait": round(float(random.exponential(0.8)), 2), "memory_bytes": 3e9 + 2e9 * grown,
            "process_bytes": 1e9 + 1.5e9 * grown, "disk_read": int(random.exponential(2e6)), "disk_write": 40000,
            "net_in": int(random.exponential(3000)), "net_out": 800, "num_loaders": job.num_workers,
            "num_processes": 1 + job.num_workers, "gpu": gpu,
        }  # fmt: skip


def _tensors(job: Job, random: np.random.Generator) -> Iterator[Row]:
    kinds = ("gradients", "updates", "relu_output")
    for index in range(job.num_tensor_rows):
        layer, kind = LAYERS[index % len(LAYERS)], kinds[index // len(LAYERS) % 3]
        step = 10 * (index // (3 * len(LAYERS)))
        value = 1e-3 * random.lognormal(0, 0.5) * (1 + index % len(LAYERS))
        row = {"stage": job.stage, "step": step, "epoch": 1, "mode": "TRAIN", "collection": kind,
               "name": f"{kind}/{layer}", "size": 9216, "mean": 0.0,
               "mean_abs": value, "std": value, "min": -3 * value, "max": 3 * value,
               "p5": -2 * value, "p95": 2 * value, "zeros": random.uniform(0.3, 0.6) if kind == "relu_output" else 0.0,
               "nan": 0, "inf": 0}  # fmt: skip
        if kind == "updates":
            row |= {"ratio": value, "max_abs_change": value}
        yield {"kind": "tensor", "time": 11.0, **row}


def _trials(job: Job, random: np.random.Generator) -> Iterator[Row]:
    for index in range(job.num_trials):
        lr, weight_decay = (
            float(np.exp(random.uniform(np.log(3e-4), np.log(0.1)))),
            float(10 ** random.uniform(-3, 0.5)),
        )
        loss = 0.08 + 0.03 * (np.log(lr) - np.log(0.008)) ** 2 + random.uniform(0, 0.02)
        yield {"kind": "trial", "time": 12.0, "number": index, "lr": lr, "weight_decay": weight_decay,
               "batch_size": int(random.choice([32, 128, 512])), "label_smoothing": float(random.uniform(0, 0.2)),
               "epoch": 40, "validation_loss": float(loss), "validation_accuracy": float(1 - loss / 4)}  # fmt: skip


def _operators() -> list[Row]:
    names = ("aten::mkldnn_convolution", "aten::native_batch_norm_backward", "aten::relu6", "aten::add_", "aten::copy_")
    return [
        {"name": name, "count": 900 - i, "cpu_seconds": 1.2 / (i + 1), "device_seconds": 0.0, "share": 0.4 / (i + 1)}
        for i, name in enumerate(names)
    ]


def _predictions(job: Job, random: np.random.Generator) -> Row:
    names = list(job.class_names)
    matrix = np.diag(random.integers(8, 14, len(names)))
    for label in range(0, len(names), 2):
        matrix[label, (label + 1) % len(names)] += 1 + label % 3
    cells: list[list[int]] = matrix.tolist()
    if len(names) > 200:
        cells = [[int(i), int(j), int(matrix[i, j])] for i, j in zip(*np.nonzero(matrix), strict=True)]
    f1 = matrix.diagonal() / matrix.sum(axis=1)
    per_class = [
        {"class_name": name, "num_images": int(matrix[i].sum()), "precision": 0.9, "recall": 0.9, "f1": float(f1[i])}
        for i, name in enumerate(names)
    ]
    hardest = [
        {"photograph": str(file), "label": names[i % len(names)], "prediction": names[(i + (i % 4 > 0)) % len(names)],
         "probability": 0.99 - 0.02 * i, "label_probability": 0.01 * (i + 1), "loss": 4 - 0.1 * i}
        for i, file in enumerate(job.photographs)
    ]  # fmt: skip
    confidence = (np.arange(15) + 0.5) / 15
    bins = [
        {"confidence": float(c), "accuracy": float(min(1, c**1.3)), "count": int(4 + 60 * c**4)} for c in confidence
    ]
    return {
        "split": "test", "confusion_matrix": cells, "per_class": per_class, "hardest": hardest,
        "calibration": {"before": 0.061, "after": 0.024, "temperature": 1.31, "bins": bins},
        "metrics": {"test:loss": 0.187, "test:accuracy": 0.943, "test:top5_accuracy": 0.998, "test:macro_f1": 0.941},
    }  # fmt: skip


def result(rule: str, status: Status = "IssuesFound", **values: Any) -> RuleResult:
    """Make the verdict of a rule."""
    defaults: dict[str, Any] = {
        "severity": "problem", "triggered": 3, "datapoints": 40, "parameters": {"threshold": 0.5}, "description": "d",
        "finding": f"{rule} was seen.", "advice": f"Change {rule}.", "gain": None, "first_step": None, "details": {},
    }  # fmt: skip
    return RuleResult(rule=rule, status=status, **{**defaults, **values})
