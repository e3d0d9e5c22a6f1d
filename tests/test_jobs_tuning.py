"""Tuning jobs of the process target: real training jobs, and a supervisor that is killed."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from jobs_support import QUICK, assert_shape, channels, terms, until

from jobs.kinds import TRAINING, TUNING
from jobs.requests import Search, parse_ranges, tuning_job
from jobs.targets.process import ProcessClient
from jobs.targets.supervision import STARTED
from jobs.tuner import Tuner


@pytest.fixture
def client(tmp_path: Path) -> ProcessClient:
    return ProcessClient(tmp_path / "home", "process")


def told(client: ProcessClient) -> dict[str, Any]:
    return client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")


def trials(client: ProcessClient, **parameters: Any) -> list[dict[str, Any]]:
    answer = client.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune", **parameters)
    assert_shape("ListTrainingJobsForHyperParameterTuningJob", answer)
    found: list[dict[str, Any]] = answer["TrainingJobSummaries"]
    return found


def ended(client: ProcessClient, timeout: float = 180) -> dict[str, Any]:
    until(lambda: told(client)["HyperParameterTuningJobStatus"] in TUNING.ended, timeout)
    return told(client)


def test_a_tuning_job_survives_a_killed_trial_and_a_killed_supervisor(client: ProcessClient, faces: Path) -> None:
    search = Search("validation:loss", num_jobs=3, num_parallel=2, seed=1)
    request = tuning_job("tune", channels(faces), QUICK, search, terms(client.home))
    assert_shape("CreateHyperParameterTuningJob", client.create_hyper_parameter_tuning_job(**request))
    until(lambda: len(trials(client)) == 2)
    victim = client.store.folder(TRAINING, trials(client)[0]["TrainingJobName"]) / "child.pid"
    until(victim.exists)
    os.killpg(int(victim.read_text().split()[0]), signal.SIGKILL)
    STARTED[-1].kill()
    STARTED[-1].wait()
    description = ended(client)
    assert_shape("DescribeHyperParameterTuningJob", description)
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    counters = description["TrainingJobStatusCounters"]
    assert (counters["Completed"], counters["NonRetryableError"], counters["InProgress"]) == (2, 1, 0)
    assert description["ObjectiveStatusCounters"] == {"Succeeded": 2, "Pending": 0, "Failed": 1}
    found = trials(client, SortBy="FinalObjectiveMetricValue")
    values = [item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for item in found]
    assert len(values) == 2 and values == sorted(values)
    assert description["BestTrainingJob"]["TrainingJobName"] == found[0]["TrainingJobName"]
    assert len(trials(client)) == 3
    assert len({item["TunedHyperParameters"]["lr"] for item in trials(client)}) == 3
    best = client.describe_training_job(TrainingJobName=found[0]["TrainingJobName"])
    assert best["TuningJobArn"] == TUNING.arn("tune")
    assert best["HyperParameters"]["_tuning_objective_metric"] == '"validation:loss"'
    assert_shape("ListHyperParameterTuningJobs", client.list_hyper_parameter_tuning_jobs())
    client.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    assert len(client.list_training_jobs()["TrainingJobSummaries"]) == 3


def test_a_tuning_job_whose_training_jobs_all_fail_has_failed_and_says_why(client: ProcessClient, faces: Path) -> None:
    search = Search("validation:loss", num_jobs=20, num_parallel=2, ranges=parse_ranges(["num_views=1:2"]))
    request = tuning_job("tune", channels(faces), {}, search, terms(client.home))
    request["TrainingJobDefinition"]["StaticHyperParameters"] = {"lr": "-1"}
    client.create_hyper_parameter_tuning_job(**request)
    description = ended(client)
    assert description["HyperParameterTuningJobStatus"] == "Failed"
    assert description["FailureReason"].startswith("No training job succeeded after ")
    assert "lr=-1: must be in (0, 1]" in description["FailureReason"]
    assert len(trials(client)) < 10


def test_stop_ends_the_training_jobs_too(client: ProcessClient, faces: Path) -> None:
    search = Search("validation:loss", num_jobs=9, num_parallel=1)
    client.create_hyper_parameter_tuning_job(**tuning_job("tune", channels(faces), QUICK, search, terms(client.home)))
    until(lambda: trials(client))
    client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    description = ended(client)
    assert description["HyperParameterTuningJobStatus"] == "Stopped"
    assert [item["TrainingJobStatus"] for item in trials(client)] in (["Stopped"], ["Completed"])


def test_hyperband_stops_a_bad_trial_by_sigterm(client: ProcessClient, faces: Path) -> None:
    static = {"strategy": "finetune", "epochs": "1000", "batch_size": "8"}
    search = Search("validation:loss", "hyperband", 2, 1, ranges=parse_ranges(["lr=0.001,0.0000001"]))
    request = tuning_job("tune", channels(faces), static, search, terms(client.home))
    config = request["HyperParameterTuningJobConfig"]
    config["RandomSeed"] = next(seed for seed in range(100) if tries_the_good_one_first({**config, "RandomSeed": seed}))
    # One bracket: trials of different ones are not compared.
    config["StrategyConfig"]["HyperbandStrategyConfig"]["MaxResource"] = 2
    client.create_hyper_parameter_tuning_job(**request)
    first = until(lambda: trials(client))[0]["TrainingJobName"]
    # The first one of a rung has none to fall behind.
    until(lambda: log_of(client, first).count("#metric validation:loss") >= 3)
    client.stop_training_job(TrainingJobName=first)
    description = ended(client)
    good, bad = (client.describe_training_job(TrainingJobName=item["TrainingJobName"]) for item in trials(client))
    assert (good["TrainingJobStatus"], bad["TrainingJobStatus"]) == ("Stopped", "Stopped")
    assert log_of(client, bad["TrainingJobName"]).count("#metric validation:loss") < 5
    assert "SIGTERM: saving the best model so far" in log_of(client, bad["TrainingJobName"])
    assert description["TrainingJobStatusCounters"]["Stopped"] == 2
    assert description["BestTrainingJob"]["TrainingJobName"] == good["TrainingJobName"]


def log_of(client: ProcessClient, name: str) -> str:
    file = client.store.folder(TRAINING, name) / "log.txt"
    return file.read_text() if file.exists() else ""


def tries_the_good_one_first(config: dict[str, Any]) -> bool:
    tuner = Tuner("tune", config, {})
    return [tuner.suggest().parameters["lr"] for _ in range(2)] == ["0.001", "0.0000001"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "x"}}, "A metric is required"),
        ({"ParameterRanges": {"AutoParameters": [{"Name": "lr", "ValueHint": "0.1"}]}}, "AutoParameters: give ranges"),
        ({"TuningJobCompletionCriteria": {"ConvergenceDetected": {}}}, "ConvergenceDetected: only the service"),
        ({"Strategy": "Grid"}, "takes CategoricalParameterRanges only"),
    ],
)
def test_what_the_target_cannot_search_is_refused(
    client: ProcessClient, faces: Path, change: dict[str, Any], message: str
) -> None:
    request = tuning_job("tune", channels(faces), {}, Search(), terms(client.home))
    request["HyperParameterTuningJobConfig"] |= change
    with pytest.raises(ClientError, match=message):
        client.create_hyper_parameter_tuning_job(**request)
    assert client.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []
