"""The settings of the server, from the environment."""

from dataclasses import dataclass
from typing import Literal

from container.settings import setting

MAX_TRANSFORM_MB = 100
"""SageMaker's limit of MaxConcurrentTransforms times MaxPayloadInMB."""


@dataclass(frozen=True)
class ServeConfig:
    """Settings that an endpoint's environment variables change."""

    port: int = setting(8080, "Port to listen on.", interval="[1, 65535]", environment="SAGEMAKER_BIND_TO_PORT")
    bind_address: str = setting("0.0.0.0", "Address to listen on.", environment="KENNEL_BIND_ADDRESS")  # noqa: S104
    num_workers: int | None = setting(
        None, "Server processes, each with a model of its own; auto: by cores and memory, 1 with a GPU.",
        unit="processes", interval="[1, 256]", example="1", environment="SAGEMAKER_MODEL_SERVER_WORKERS",
    )  # fmt: skip
    num_threads: int = setting(
        64, "Threads of a process. An eighth, at least one, is kept for `/ping` and refusals; the rest answer images.",
        unit="threads", interval="[2, 1024]", environment="KENNEL_THREADS",
    )  # fmt: skip
    queue_images: int = setting(
        512, "Images that wait for the network in a process; further requests get 503.", unit="images",
        interval="[1, 100000]", environment="KENNEL_QUEUE",
    )  # fmt: skip
    deadline_seconds: float = setting(
        55, "Age of a request from which it is not computed any more; SageMaker waits 60 s.", unit="s",
        interval="(0, 3600]", environment="KENNEL_DEADLINE",
    )  # fmt: skip
    max_payload_mb: float = setting(
        25, "Largest request body; SageMaker's own limit for real-time endpoints is 25 MB.", unit="MB",
        interval="(0, 1024]", environment="SAGEMAKER_MAX_PAYLOAD_IN_MB",
    )  # fmt: skip
    top_k: int = setting(
        5,
        "Classes in an answer, beside all selected labels, unless the request says otherwise.",
        interval="[1, 10000]",
        environment="KENNEL_TOP_K",
    )
    max_images: int = setting(
        256, "Most images in a request.", unit="images", interval="[1, 10000]", environment="KENNEL_MAX_IMAGES"
    )
    default_accept: Literal["application/json", "application/json;verbose", "application/jsonlines", "text/csv"] = (
        setting(
            "application/json",
            "Type of an answer when the request accepts any.",
            environment="SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        )
    )
    is_batch: bool = setting(
        False,
        "Set by batch transform: a bad image gets an error record and does not fail the job.",
        environment="SAGEMAKER_BATCH",
    )
    access_log: bool = setting(
        True, "Write a line of JSON for each request, with its inference id.", environment="KENNEL_ACCESS_LOG"
    )
    is_multi_model: bool = setting(
        False,
        "Set by multi-model endpoints: models are loaded and unloaded on request, in one process.",
        environment="SAGEMAKER_MULTI_MODEL",
    )
    model_memory_mb: int | None = setting(
        None, "Memory for the models of a multi-model endpoint; auto: four fifths of what there is.", unit="MB",
        interval="[1, 10000000]", example="4000", environment="KENNEL_MODEL_MEMORY_MB",
    )  # fmt: skip

    @property
    def num_admitted(self) -> int:
        """Requests for images that a process answers at a time."""
        return self.num_threads - max(1, self.num_threads // 8)

    def execution_parameters(self) -> dict[str, str | int]:
        """Say how batch transform should ask: a file at a time, as many at once as are answered and 100 MB allow."""
        payload_mb = min(MAX_TRANSFORM_MB, max(1, int(self.max_payload_mb)))
        concurrency = max(1, min((self.num_workers or 1) * self.num_admitted, MAX_TRANSFORM_MB // payload_mb))
        return {
            "MaxConcurrentTransforms": concurrency,
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": payload_mb,
        }
