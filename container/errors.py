"""Errors by who must act.

ContainerError
├── UserError        the person who started the job: a setting, a photograph, a folder
├── AlgorithmError   the authors of Kennel: a defect
└── PlatformError    the machine: no disk, no memory, no permission
"""

from typing import ClassVar

FAILURE_REASON_CHARACTERS = 1024
"""What the service shows of output/failure (FailureReason in the SageMaker API)."""


class ContainerError(Exception):
    """Stop the job with a message that says what was given, what was expected and what to do."""

    exit_code: ClassVar[int] = 2


class UserError(ContainerError):
    """The person who started the job must change something."""

    exit_code = 1


class AlgorithmError(ContainerError):
    """Kennel is at fault."""

    exit_code = 2


class PlatformError(ContainerError):
    """The machine failed: no disk space, no memory, no permission."""

    exit_code = 3
