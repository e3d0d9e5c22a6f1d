"""The contract with SageMaker: paths, settings, resources, metrics and the life of a job. Standard library only."""
