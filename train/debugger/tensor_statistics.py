"""Statistics of tensors, from values spread evenly over each; nothing here waits for a GPU.

Tensors differ in size, so a sample of each becomes a row of a table, and a statistic is one operation on the table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from train.debugger.host_copy import HostCopy
from train.debugger.step_times import digits

WIDTH = 2048
"""Values of a tensor that its statistics are computed from; minimum and maximum are of all."""

MAX_POSITIONS, MAX_PER_NODE = 64, 1024
"""Places in an image, and values in all, that tell how active a node is."""

NUM_PERCENTILES = 21
"""0, 5, ... 100."""

COLUMNS = ("mean", "mean_abs", "std", "min", "max", "p5", "p95", "zeros", "nan", "inf")

NUM_AT_ONCE = 128
"""Tensors of a table, which bounds its memory to 2 MB."""

SMALLEST_SHARE = 1e-15
"""Of values that are known to be there and are not in a sample: counted as one."""

EPSILON = 1e-9
"""Of AWS's WeightUpdateRatio."""


def sample(tensor: Tensor, width: int = WIDTH) -> Tensor:
    """Take at most `width` values (num,) of a tensor, as a view where its memory allows."""
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    flat = tensor.detach().permute(order).reshape(-1)
    stride = -(-flat.numel() // width)
    # A stride that shares a factor with a kernel's size would see the same corner of each kernel.
    while stride > 1 and math.gcd(stride, flat.numel()) > 1:
        stride += 1
    return flat[::stride]


def table(samples: Sequence[Tensor]) -> Tensor:
    """Put samples (num,) into rows (num_tensors, WIDTH) of float32; the rest of a row is nan."""
    rows = samples[0].new_full((len(samples), WIDTH), math.nan)
    for row, values in zip(rows, samples, strict=True):
        row[: len(values)].copy_(values)
    return rows


def extremes(tensor: Tensor) -> Tensor:
    """Find minimum and maximum (2,) of a whole tensor, in float32; nan where it holds one."""
    return torch.stack(torch.aminmax(tensor.detach())).float()


def summarise(rows: Tensor, sizes: Sequence[int], whole: Tensor | None = None) -> Tensor:
    """Compute COLUMNS (num_tensors, 10) of samples (num_tensors, WIDTH) over the finite values; nan where none is.

    The last three are shares of the values. `sizes` are the numbers of values sampled; `whole` (num_tensors, 2) holds
    minimum and maximum of the whole tensors.
    """
    values = rows.double()
    num_values = on_device(sizes, rows.device)
    is_there = torch.arange(rows.shape[1], device=rows.device) < num_values[:, None]
    finite = values.isfinite()
    count = finite.sum(1).clamp(min=1)
    known = values.where(finite, 0.0)
    mean = known.sum(1) / count
    std = ((known - mean[:, None]).where(finite, 0.0).square().sum(1) / count).sqrt()
    in_order = values.where(finite, math.inf).sort(1).values
    low, high, p5, p95 = (
        in_order.gather(1, (share * (count - 1)).round().long()[:, None])[:, 0] for share in (0.0, 1.0, 0.05, 0.95)
    )
    nan_share = (values.isnan() & is_there).sum(1) / num_values
    inf_share = values.isinf().sum(1) / num_values
    if whole is not None:
        # One value in millions is not in the sample; that it is there must be seen all the same.
        nan_share = nan_share.maximum(whole.isnan().any(1) * SMALLEST_SHARE)
        inf_share = inf_share.maximum(whole.isinf().any(1) * SMALLEST_SHARE)
        is_finite = whole.isfinite().all(1)
        low, high = whole[:, 0].double().where(is_finite, low), whole[:, 1].double().where(is_finite, high)
    zeros = ((known == 0) & finite).sum(1) / count
    parts = torch.stack([mean, known.abs().sum(1) / count, std, low, high, p5, p95], dim=1)
    parts = parts.where(finite.any(1, keepdim=True), math.nan)
    return torch.cat([parts, torch.stack([zeros, nan_share, inf_share], dim=1)], dim=1)


def on_device(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Move numbers to a device without waiting for it."""
    tensor = torch.tensor(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def changes(before: Tensor, now: Tensor) -> Tensor:
    """Compare samples of weights (num_tensors, WIDTH): how much they changed, relative and at most (num_tensors, 2)."""
    change = (now - before).double().abs()
    relative = change.nanmean(1) / (now.double().abs().nanmean(1) + EPSILON)
    return torch.stack([relative, change.nan_to_num(0.0, math.inf).amax(1)], dim=1)


def nodes(activation: Tensor) -> Tensor:
    """Take values (num_values, num_nodes) of an activation: channels of images, or the last dimension of tokens."""
    values = activation.detach()
    if values.ndim == 4:
        values = values.permute(0, 2, 3, 1)
    places = math.prod(values.shape[1:-1])
    if places > MAX_POSITIONS:
        step = math.ceil((places / MAX_POSITIONS) ** (1 / (values.ndim - 2)))
        values = values[(slice(None), *[slice(None, None, step)] * (values.ndim - 2))]
        places = math.prod(values.shape[1:-1])
    values = values[:: max(1, math.ceil(len(values) * places / MAX_PER_NODE))]
    return values.reshape(-1, values.shape[-1])


def node_percentiles(chosen: Tensor) -> Tensor:
    """Compute percentiles (21,), over nodes, of the percentage of values (num_values, num_nodes) that are true."""
    percentages = (100 * chosen.float().mean(0)).sort().values
    places = torch.linspace(0, len(percentages) - 1, NUM_PERCENTILES, device=chosen.device)
    return percentages[places.round().long()]


@dataclass(frozen=True)
class Collected:
    """What is kept of a tensor until its step is over."""

    label: dict[str, Any]
    values: Tensor
    """A sample (num,)."""
    whole: Tensor
    """Minimum and maximum (2,) of the tensor."""
    more: Tensor | None
    """Percentiles (21,)."""


class Statistics:
    """Statistics of the tensors of a step: kept while it runs, computed when it is over, on their way to the host."""

    def __init__(self) -> None:
        self._collected: list[Collected] = []
        self._labels: list[dict[str, Any]] = []
        self._parts: list[Tensor] = []
        self._copy: HostCopy | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def collect(
        self, label: dict[str, Any], tensor: Tensor, more: Tensor | None = None, scale: Tensor | None = None
    ) -> Tensor:
        """Keep a sample of a tensor, divided by a scale; return it. The label's `more` names the percentiles."""
        values, whole = sample(tensor).to(torch.float32, copy=True), extremes(tensor)
        if scale is not None:
            values, whole = values / scale, whole / scale
        self._collected.append(Collected(label, values, whole, more))
        return values

    def add_changes(self, labels: Sequence[dict[str, Any]], before: Sequence[Tensor], now: Sequence[Tensor]) -> None:
        """Add what changed between two samples of each weight."""
        tables = table(before), table(now)
        self._add(labels, summarise(tables[1] - tables[0], [len(values) for values in now]), changes(*tables))

    def send(self) -> None:
        """Compute all statistics and begin their copy to the host."""
        for start in range(0, len(self._collected), NUM_AT_ONCE):
            some = self._collected[start : start + NUM_AT_ONCE]
            samples = [each.values for each in some]
            sizes = [len(values) for values in samples]
            columns = summarise(table(samples), sizes, torch.stack([each.whole for each in some]))
            nothing = columns.new_zeros(NUM_PERCENTILES)
            more = torch.stack([nothing if each.more is None else each.more.double() for each in some])
            self._add([each.label for each in some], columns, more)
        self._collected.clear()
        self._copy = HostCopy(torch.cat(self._parts))
        self._parts.clear()

    def _add(self, labels: Sequence[dict[str, Any]], columns: Tensor, more: Tensor) -> None:
        self._labels += labels
        padding = columns.new_zeros(len(more), NUM_PERCENTILES - more.shape[1])
        self._parts.append(torch.cat([columns, more, padding], dim=1))

    def is_ready(self) -> bool:
        """Tell whether the numbers are there."""
        return self._copy is not None and self._copy.is_ready()

    def rows(self) -> list[dict[str, Any]]:
        """Make the lines of the record."""
        assert self._copy is not None, "rows are asked for after they were sent"
        return [
            row_of(labels, numbers) for labels, numbers in zip(self._labels, self._copy.get().tolist(), strict=True)
        ]


def row_of(labels: dict[str, Any], numbers: list[float]) -> dict[str, Any]:
    """Make a line of the record."""
    fields: dict[str, Any] = {name: value for name, value in labels.items() if name != "more"}
    fields |= dict(zip(COLUMNS, digits(numbers[: len(COLUMNS)], 5), strict=True))
    for name in ("nan", "inf"):
        fields[name] = math.ceil(fields[name] * fields["size"])
    more = numbers[len(COLUMNS) :]
    meaning = labels.get("more")
    if meaning == "change":
        fields |= dict(zip(("ratio", "max_abs_change"), digits(more[:2], 5), strict=True))
    elif meaning is not None:
        fields[meaning] = digits(more[:NUM_PERCENTILES], 4)
    return fields
