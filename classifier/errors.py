"""Errors of the model.

ClassifierError
├── ArchitectureError     no such network
├── WeightsError          pretrained weights are not there or do not fit
├── ArtifactError         the artifact is incomplete, altered, or of another version
└── ImageError            not a photograph that can be read
    └── ImageTooLargeError
"""


class ClassifierError(Exception):
    """Say what was given, what was expected and what to do."""


class ArchitectureError(ClassifierError):
    """The network is not known."""


class WeightsError(ClassifierError):
    """Pretrained weights cannot be had, or do not fit the network."""


class ArtifactError(ClassifierError):
    """The artifact must not be served."""


class ImageError(ClassifierError):
    """The bytes are not an image that can be read whole."""


class ImageTooLargeError(ImageError):
    """The image declares more pixels than are decoded."""
