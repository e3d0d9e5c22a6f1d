"""What the service knows: training jobs, tuning jobs, transform jobs, models, endpoint configurations, endpoints."""

from dataclasses import dataclass

ACCOUNT = "000000000000"
REGION = "local"


@dataclass(frozen=True)
class Kind:
    """One kind of thing in the SageMaker API, and the words that the API has for it."""

    noun: str
    """As in `CreateTrainingJob`."""
    plural: str
    """As in `ListTrainingJobs`."""
    folder: str
    listed: str
    """Key of the list in the answer of List."""
    summary: tuple[str, ...]
    """Members of a list entry, besides name, ARN, creation time and status."""
    status: str = ""
    """Member that holds the state; empty for what has none."""
    ended: frozenset[str] = frozenset()
    """States in which no process works for it."""
    sort_order: str = "Ascending"
    not_found: tuple[str, str] = ("ValidationException", 'Could not find {words} "{arn}".')
    """Error code and message, as the service words them."""
    exists: tuple[str, str] = ("ValidationException", 'Cannot create already existing {words} "{arn}".')
    words: str = ""

    @property
    def name_key(self) -> str:
        """Member that holds the name, such as TrainingJobName."""
        return f"{self.noun}Name"

    @property
    def arn_key(self) -> str:
        """Member that holds the ARN, such as TrainingJobArn."""
        return f"{self.noun}Arn"

    def arn(self, name: str) -> str:
        """Give the ARN of a name."""
        return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{self.folder.removesuffix('s')}/{name}"


JOB_ENDED = frozenset({"Completed", "Failed", "Stopped"})
JOB_EXISTS = (
    "ResourceInUse",
    "Job name must be unique within an AWS account and region, and a job with this name already exists ({arn})",
)

TRAINING = Kind(
    "TrainingJob",
    "TrainingJobs",
    "training-jobs",
    "TrainingJobSummaries",
    ("TrainingEndTime", "LastModifiedTime", "SecondaryStatus"),
    status="TrainingJobStatus",
    ended=JOB_ENDED,
    not_found=("ValidationException", "Requested resource not found."),
    exists=JOB_EXISTS,
    words="training job",
)
TUNING = Kind(
    "HyperParameterTuningJob",
    "HyperParameterTuningJobs",
    "hyper-parameter-tuning-jobs",
    "HyperParameterTuningJobSummaries",
    (
        "Strategy",
        "HyperParameterTuningEndTime",
        "LastModifiedTime",
        "TrainingJobStatusCounters",
        "ObjectiveStatusCounters",
        "ResourceLimits",
    ),
    status="HyperParameterTuningJobStatus",
    ended=JOB_ENDED,
    not_found=("ResourceNotFound", "Amazon SageMaker can't find a tuning job called {name}. Type another name."),
    exists=JOB_EXISTS,
    words="tuning job",
)
TRANSFORM = Kind(
    "TransformJob",
    "TransformJobs",
    "transform-jobs",
    "TransformJobSummaries",
    ("TransformEndTime", "LastModifiedTime", "FailureReason"),
    status="TransformJobStatus",
    ended=JOB_ENDED,
    not_found=("ValidationException", "Could not find requested job with name: {name}"),
    exists=JOB_EXISTS,
    words="transform job",
)
MODEL = Kind("Model", "Models", "models", "Models", (), sort_order="Descending", words="model")
ENDPOINT_CONFIG = Kind(
    "EndpointConfig",
    "EndpointConfigs",
    "endpoint-configs",
    "EndpointConfigs",
    (),
    sort_order="Descending",
    words="endpoint configuration",
)
ENDPOINT = Kind(
    "Endpoint",
    "Endpoints",
    "endpoints",
    "Endpoints",
    ("LastModifiedTime",),
    status="EndpointStatus",
    ended=frozenset({"Failed"}),
    sort_order="Descending",
    words="endpoint",
)

KINDS = (TRAINING, TUNING, TRANSFORM, ENDPOINT, MODEL, ENDPOINT_CONFIG)
"""In the order in which a name is looked for."""
