"""Every path of the SageMaker contract, from one root."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from container.errors import UserError

DEFAULT_ROOT = Path("/opt/ml")


@dataclass(frozen=True)
class ContainerPaths:
    """The folders and files that SageMaker lays out for a container.

    Source: "How Amazon SageMaker runs your training image" and "Use your own inference code" in the SageMaker
    developer guide.
    """

    root: Path = DEFAULT_ROOT

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ContainerPaths":
        """Read the root from SAGEMAKER_BASE_DIR, `/opt/ml` when it is not set."""
        return cls(Path(environment.get("SAGEMAKER_BASE_DIR") or DEFAULT_ROOT))

    @property
    def input_config(self) -> Path:
        """Folder of the JSON files that the service writes before a training job."""
        return self.root / "input" / "config"

    @property
    def input_data(self) -> Path:
        """Folder with one folder a channel."""
        return self.root / "input" / "data"

    @property
    def model(self) -> Path:
        """Folder of the artifact: written by `train`, read by `serve`."""
        return self.root / "model"

    @property
    def models(self) -> Path:
        """Folder of a multi-model endpoint's artifacts."""
        return self.root / "models"

    @property
    def checkpoints(self) -> Path:
        """Folder that the service keeps in step with S3, when the job asks for checkpoints."""
        return self.root / "checkpoints"

    @property
    def output_data(self) -> Path:
        """Folder that the service packs into output.tar.gz."""
        return self.root / "output" / "data"

    @property
    def failure(self) -> Path:
        """File whose first 1,024 characters become the job's FailureReason."""
        return self.root / "output" / "failure"

    def channels(self) -> dict[str, Path]:
        """List the channels that are there, by name."""
        if not self.input_data.is_dir():
            return {}
        return {entry.name: entry for entry in sorted(self.input_data.iterdir()) if entry.is_dir()}

    def hyperparameters(self) -> dict[str, str]:
        """Read hyperparameters.json, an object of strings; none when the file is not there.

        Raises UserError when the file is not such an object.
        """
        file = self.input_config / "hyperparameters.json"
        if not file.exists():
            return {}
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UserError(f"{file}: not readable as JSON ({error}); write an object of strings") from error
        if not isinstance(values, dict):
            raise UserError(f"{file}: holds {type(values).__name__}; expected an object of strings")
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
