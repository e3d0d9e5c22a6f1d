"""The settings of the server, from the environment."""

from dataclasses import dataclass

from container.settings import setting


@dataclass(frozen=True)
class ServeConfig:
    """Settings that an endpoint's environment variables change."""

    port: int = setting(8080, "Port to listen on.", interval="[1, 65535]", environment="SAGEMAKER_BIND_TO_PORT")
    bind_address: str = setting("0.0.0.0", "Address to listen on.", environment="KENNEL_BIND_ADDRESS")  # noqa: S104
    num_workers: int = setting(
        1, "Server processes, each with a model of its own.", unit="processes", interval="[1, 256]",
        environment="SAGEMAKER_MODEL_SERVER_WORKERS",
    )  # fmt: skip
    num_threads: int = setting(
        16,
        "Requests that one process reads at a time.",
        unit="threads",
        interval="[2, 1024]",
        environment="KENNEL_THREADS",
    )
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
