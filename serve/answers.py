"""How an answer is written, in each of the types that a request may accept."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from werkzeug.exceptions import HTTPException

from classifier.artifact import ModelArtifact
from serve.errors import describe
from serve.media import CSV, JSON, JSON_LINES, VERBOSE

Row = npt.NDArray[np.float64]
Result = Row | HTTPException
"""Probabilities (num_classes,) of an image, or why there are none."""


@dataclass(frozen=True)
class Options:
    """What a request may choose."""

    top_k: int | None = None
    """Most predictions of an answer; without it the server's number, and all selected labels."""
    threshold: float | None = None
    """Least probability of a prediction, in [0, 1]; where an image may have several labels, of a selected one."""


class Writer:
    """Writes the results of a request about one artifact."""

    def __init__(self, artifact: ModelArtifact, options: Options, default_top_k: int) -> None:
        self._names = artifact.class_names
        self._is_multi_label = artifact.task == "multi_label"
        self._thresholds = np.asarray(artifact.thresholds)
        self._options = options
        self._default_top_k = default_top_k

    def write(self, results: Sequence[Result], media_type: str, *, is_many: bool) -> str:
        """Write results as one of ANSWER_TYPES; `is_many` writes a list in JSON though there be one result."""
        if media_type == CSV:
            return self._csv(results)
        if media_type == JSON_LINES:
            return "".join(f"{json.dumps(self._probabilities(result))}\n" for result in results)
        write = self._verbose if media_type == VERBOSE else self._predictions
        written = [describe(result) if isinstance(result, HTTPException) else write(result) for result in results]
        if media_type == JSON and is_many:
            return json.dumps({"predictions": [item.get("predictions", item) for item in written]})
        return json.dumps(written if is_many else written[0])

    def _selected(self, row: Row) -> list[bool | None]:
        if not self._is_multi_label:
            return [None] * len(row)
        threshold = self._options.threshold
        selected: list[bool | None] = (row >= (self._thresholds if threshold is None else threshold)).tolist()
        return selected

    def _predictions(self, row: Row) -> dict[str, object]:
        selected, top_k = self._selected(row), self._options.top_k
        shown = []
        for rank, index in enumerate(np.argsort(-row, kind="stable").tolist()):
            # Who asks for no number misses none of the selected labels.
            is_kept = rank < (top_k or self._default_top_k) or (top_k is None and selected[index])
            if is_kept and row[index] >= (self._options.threshold or 0):
                prediction = {"label": self._names[index], "probability": float(row[index])}
                # One label an image has nothing to select.
                shown.append(prediction | ({"selected": selected[index]} if self._is_multi_label else {}))
        return {"predictions": shown}

    def _verbose(self, row: Row) -> dict[str, object]:
        written = {"probabilities": row.tolist(), "labels": self._names, "predicted_label": self._names[row.argmax()]}
        if self._is_multi_label:
            names = zip(self._names, self._selected(row), strict=True)
            written["selected_labels"] = [name for name, is_selected in names if is_selected]
        return written

    def _probabilities(self, result: Result) -> dict[str, object]:
        return {**describe(result)} if isinstance(result, HTTPException) else {"prediction": result.tolist()}

    def _csv(self, results: Sequence[Result]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for result in results:
            if isinstance(result, HTTPException):
                writer.writerow(["error", result.code, result.description])
            else:
                writer.writerow(result.tolist())
        return text.getvalue()
