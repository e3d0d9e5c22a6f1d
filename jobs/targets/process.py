"""boto3's SageMaker client, carried out on this machine: in processes, or in containers of Docker."""

from typing import Any

from jobs.kinds import ENDPOINT, ENDPOINT_CONFIG, MODEL, TRAINING, TRANSFORM, TUNING
from jobs.shapes import refuse
from jobs.store import Description
from jobs.supervisor import Wish, ask
from jobs.targets.catalogue import Answer, answered, check_list_parameters, cut_page
from jobs.targets.supervision import Supervision, is_spot
from jobs.training import enter
from jobs.tree import artifact_uri
from jobs.tuner import Tuner
from jobs.tuning import DEFAULT_MAX_JOBS, objective_value, summarise

DAY_SECONDS = 86400


class ProcessClient(Supervision):
    """A SageMaker client whose jobs are folders below a home, each with a supervisor of its own."""

    def create_training_job(self, **request: Any) -> Answer:
        """Start a training job."""
        self.check("CreateTrainingJob", request)
        return self.start_training_job(request)

    def start_training_job(self, request: Description, tuning_job: str = "") -> Answer:
        """Start a training job whose request has been checked."""
        request.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": DAY_SECONDS})
        members: Description = {
            "TrainingJobStatus": "InProgress",
            "ModelArtifacts": {"S3ModelArtifacts": artifact_uri(request)},
        }
        if tuning_job:
            members["TuningJobArn"] = TUNING.arn(tuning_job)
        enter(members, "Starting")
        image = request["AlgorithmSpecification"]["TrainingImage"]
        return self.create(TRAINING, request, "train", image, **members)

    def describe_training_job(self, **parameters: Any) -> Answer:
        """Tell the state of a training job."""
        return self.describe(TRAINING, parameters)

    def list_training_jobs(self, **parameters: Any) -> Answer:
        """List training jobs."""
        return self.list(TRAINING, parameters)

    def stop_training_job(self, **parameters: Any) -> Answer:
        """Ask a training job to end with the best model so far."""
        return self.stop(TRAINING, parameters)

    def interrupt_training_job(self, name: str) -> None:
        """Take the machine away from a spot training job; the service's API has no such thing."""
        operation = "InterruptTrainingJob"
        _, record = self.find(operation, TRAINING, {"TrainingJobName": name})
        if not is_spot(record):
            refuse(operation, f"{name} is no spot training job; start it with --spot")
        if record.description["SecondaryStatus"] != "Training":
            refuse(operation, f"{name} is {record.description['SecondaryStatus']}; only Training can be interrupted")
        ask(self.store, TRAINING, name, Wish.INTERRUPT)

    def delete_training_job(self, **parameters: Any) -> Answer:
        """Remove a training job that has ended; what it put into S3OutputPath stays."""
        return self.delete_ended(TRAINING, parameters)

    def create_hyper_parameter_tuning_job(self, **request: Any) -> Answer:
        """Start a tuning job."""
        operation = "CreateHyperParameterTuningJob"
        self.check(operation, request)
        name, config = request["HyperParameterTuningJobName"], request["HyperParameterTuningJobConfig"]
        config["ResourceLimits"].setdefault("MaxNumberOfTrainingJobs", DEFAULT_MAX_JOBS)
        try:
            Tuner(name, config, request["TrainingJobDefinition"].get("StaticHyperParameters", {}))
        except ValueError as error:
            refuse(operation, str(error))
        image = request["TrainingJobDefinition"]["AlgorithmSpecification"]["TrainingImage"]
        members = {
            "HyperParameterTuningJobStatus": "InProgress",
            "TrainingJobStatusCounters": {},
            "ObjectiveStatusCounters": {},
        }
        return self.create(TUNING, request, "train", image, **members)

    def describe_hyper_parameter_tuning_job(self, **parameters: Any) -> Answer:
        """Tell the state of a tuning job, and its best training job so far."""
        return self.describe(TUNING, parameters)

    def list_hyper_parameter_tuning_jobs(self, **parameters: Any) -> Answer:
        """List tuning jobs."""
        return self.list(TUNING, parameters)

    def stop_hyper_parameter_tuning_job(self, **parameters: Any) -> Answer:
        """Ask a tuning job and its training jobs to end."""
        return self.stop(TUNING, parameters)

    def delete_hyper_parameter_tuning_job(self, **parameters: Any) -> Answer:
        """Remove a tuning job that has ended; its training jobs stay."""
        return self.delete_ended(TUNING, parameters)

    def list_training_jobs_for_hyper_parameter_tuning_job(self, **parameters: Any) -> Answer:
        """List the training jobs of a tuning job, with their hyperparameters and objective."""
        operation = "ListTrainingJobsForHyperParameterTuningJob"
        check_list_parameters(operation, parameters)
        name = parameters.get("HyperParameterTuningJobName")
        _, record = self.find(operation, TUNING, {} if name is None else {"HyperParameterTuningJobName": name})
        for entry in record.private.get("Trials", []):
            self.settle(TRAINING, entry["TrainingJobName"])
        found = summarise(self.store, record)
        status = parameters.get("StatusEquals")
        found = [item for item in found if status in (None, item["TrainingJobStatus"])]
        by = parameters.get("SortBy", "Name")
        if by == "FinalObjectiveMetricValue":
            found = [item for item in found if objective_value(item) is not None]
        keys = {
            "Name": lambda item: item["TrainingJobName"],
            "CreationTime": lambda item: item["CreationTime"].timestamp(),
            "Status": lambda item: item["TrainingJobStatus"],
            "FinalObjectiveMetricValue": objective_value,
        }
        page, token = cut_page(
            operation, found, parameters, lambda item: (keys[by](item), item["TrainingJobName"]), "Ascending"
        )
        return answered({"TrainingJobSummaries": list(page), **({"NextToken": token} if token else {})})

    def create_transform_job(self, **request: Any) -> Answer:
        """Start a transform job."""
        operation = "CreateTransformJob"
        self.check(operation, request)
        image = self._image_of(operation, request["ModelName"])
        return self.create(TRANSFORM, request, "serve", image, TransformJobStatus="InProgress")

    def describe_transform_job(self, **parameters: Any) -> Answer:
        """Tell the state of a transform job."""
        answer = self.describe(TRANSFORM, parameters)
        answer.pop("LastModifiedTime", None)
        return answer

    def list_transform_jobs(self, **parameters: Any) -> Answer:
        """List transform jobs."""
        return self.list(TRANSFORM, parameters)

    def stop_transform_job(self, **parameters: Any) -> Answer:
        """Ask a transform job to end."""
        return self.stop(TRANSFORM, parameters)

    def create_model(self, **request: Any) -> Answer:
        """Name a model."""
        self.check("CreateModel", request)
        return self.register(MODEL, request)

    def describe_model(self, **parameters: Any) -> Answer:
        """Tell what a model is."""
        return self.describe(MODEL, parameters)

    def list_models(self, **parameters: Any) -> Answer:
        """List models."""
        return self.list(MODEL, parameters)

    def delete_model(self, **parameters: Any) -> Answer:
        """Forget a model; its files stay."""
        return self.remove(MODEL, parameters)

    def create_endpoint_config(self, **request: Any) -> Answer:
        """Name a way to serve a model."""
        operation = "CreateEndpointConfig"
        self.check(operation, request)
        for variant in request["ProductionVariants"]:
            self.find(operation, MODEL, {"ModelName": variant.get("ModelName", "")})
        return self.register(ENDPOINT_CONFIG, request)

    def describe_endpoint_config(self, **parameters: Any) -> Answer:
        """Tell what an endpoint configuration is."""
        return self.describe(ENDPOINT_CONFIG, parameters)

    def list_endpoint_configs(self, **parameters: Any) -> Answer:
        """List endpoint configurations."""
        return self.list(ENDPOINT_CONFIG, parameters)

    def delete_endpoint_config(self, **parameters: Any) -> Answer:
        """Forget an endpoint configuration."""
        return self.remove(ENDPOINT_CONFIG, parameters)

    def create_endpoint(self, **request: Any) -> Answer:
        """Start an endpoint."""
        operation = "CreateEndpoint"
        self.check(operation, request)
        config_name = {"EndpointConfigName": request["EndpointConfigName"]}
        _, config = self.find(operation, ENDPOINT_CONFIG, config_name)
        variant = config.description["ProductionVariants"][0]
        summary: Description = {"VariantName": variant["VariantName"], "CurrentWeight": 1.0, "DesiredWeight": 1.0}
        if serverless := variant.get("ServerlessConfig"):
            summary |= {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
        else:
            count = variant.get("InitialInstanceCount", 1)
            summary |= {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
        members: Description = {"ProductionVariants": [summary], "EndpointStatus": "Creating"}
        if "AsyncInferenceConfig" in config.description:
            members["AsyncInferenceConfig"] = config.description["AsyncInferenceConfig"]
        image = self._image_of(operation, variant["ModelName"])
        return self.create(ENDPOINT, request, "serve", image, **members)

    def describe_endpoint(self, **parameters: Any) -> Answer:
        """Tell the state of an endpoint."""
        return self.describe(ENDPOINT, parameters)

    def list_endpoints(self, **parameters: Any) -> Answer:
        """List endpoints."""
        return self.list(ENDPOINT, parameters)

    def delete_endpoint(self, **parameters: Any) -> Answer:
        """Stop an endpoint, and forget it."""
        name, _ = self.find("DeleteEndpoint", ENDPOINT, parameters)
        with self.store.change(ENDPOINT, name) as record:
            record.description["EndpointStatus"] = "Deleting"
        ask(self.store, ENDPOINT, name, Wish.DELETE)
        self.settle(ENDPOINT, name)
        return answered()

    def _image_of(self, operation: str, model: str) -> str:
        """Find the image of a model. Raises the service's error when there is no such model."""
        _, record = self.find(operation, MODEL, {"ModelName": model})
        return str(record.description["PrimaryContainer"].get("Image", ""))
