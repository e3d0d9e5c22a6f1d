"""AWS by boto3: the requests are those of the other targets, with S3 for inputs and outputs."""

import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from container.errors import UserError
from jobs.config import KennelConfig
from jobs.kinds import ENDPOINT, TRAINING, TRANSFORM, Kind
from jobs.targets.opening import Target, method_noun

LOG_GROUPS = {
    TRAINING: "/aws/sagemaker/TrainingJobs",
    TRANSFORM: "/aws/sagemaker/TransformJobs",
    ENDPOINT: "/aws/sagemaker/Endpoints",
}
RETRIES = {"mode": "adaptive", "max_attempts": 8}
RUNTIME_READ_TIMEOUT_SECONDS = 70
"""The service gives a container 60 s."""


def open_aws(config: KennelConfig) -> Target:
    """Open clients of AWS. Raises UserError when there is no region."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(profile_name=config.profile or None, region_name=config.region or None)
        if session.region_name is None:
            raise UserError("--on aws: no region; set region in the settings file, KENNEL_REGION or AWS_DEFAULT_REGION")
        settings = Config(retries=RETRIES)
        client = session.client("sagemaker", config=settings)
        runtime = session.client(
            "sagemaker-runtime", config=Config(retries=RETRIES, read_timeout=RUNTIME_READ_TIMEOUT_SECONDS)
        )
    except BotoCoreError as error:
        raise UserError(f"--on aws: {error}") from error
    return Target(
        "aws",
        client,
        runtime,
        uri=s3_uri,
        log=lambda kind, name: CloudWatchLog(session.client("logs", config=settings), kind, name),
        download=lambda uri: download(session.client("s3", config=settings), uri),
        has=lambda kind, name: exists(client, kind, name),
        scaling=session.client("application-autoscaling", config=settings),
    )


def s3_uri(text: str) -> str:
    """Take an S3 URI. Raises UserError for anything else."""
    if not text.startswith("s3://"):
        raise UserError(f"{text}: --on aws reads s3:// URIs; put the folder there first, such as by `aws s3 sync`")
    return text


def exists(client: Any, kind: Kind, name: str) -> bool:
    """Tell whether the service knows a name."""
    from botocore.exceptions import ClientError

    try:
        getattr(client, f"describe_{method_noun(kind)}")(**{kind.name_key: name})
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
            return False
        raise
    return True


def download(client: Any, uri: str) -> Path:
    """Download an object into a temporary folder."""
    parts = urlsplit(uri)
    target = Path(tempfile.mkdtemp(prefix="kennel-")) / Path(parts.path).name
    client.download_file(parts.netloc, parts.path.lstrip("/"), str(target))
    return target


class CloudWatchLog:
    """Reads the log streams of a job as they grow."""

    def __init__(self, client: Any, kind: Kind, name: str) -> None:
        self._client = client
        self._group = LOG_GROUPS[kind]
        self._prefix = f"{name}/" if kind is not ENDPOINT else ""
        if kind is ENDPOINT:
            self._group = f"{self._group}/{name}"
        self._tokens: dict[str, str] = {}

    def lines(self) -> list[str]:
        """Give the new lines of all streams."""
        try:
            streams = self._client.describe_log_streams(
                logGroupName=self._group, **({"logStreamNamePrefix": self._prefix} if self._prefix else {})
            )["logStreams"]
        except self._client.exceptions.ResourceNotFoundException:
            return []
        return [line for stream in streams for line in self._stream_lines(stream["logStreamName"])]

    def _stream_lines(self, stream: str) -> list[str]:
        lines: list[str] = []
        while True:
            token = self._tokens.get(stream)
            answer = self._client.get_log_events(
                logGroupName=self._group, logStreamName=stream, startFromHead=True,
                **({"nextToken": token} if token else {}),
            )  # fmt: skip
            lines += [event["message"] for event in answer["events"]]
            # The end of a stream is told by the token that was sent.
            if answer["nextForwardToken"] == token:
                return lines
            self._tokens[stream] = answer["nextForwardToken"]
