"""The `kennel` command as people and scripts use it: output, exit codes, Ctrl-C, two at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jobs_support import ENDLESS, QUICK, environment, kennel, until
from support import ROOT

from jobs.serving import ask, free_port
from jobs.shapes import check_request
from jobs.uris import pack

SETTINGS = [part for name, text in QUICK.items() for part in ("--set", f"{name}={text}")]
LONG = [part for name, text in ENDLESS.items() for part in ("--set", f"{name}={text}")]
COMMAND = [sys.executable, "-m", "jobs"]


def test_help_comes_within_half_a_second(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        result = kennel(tmp_path, "--help")
        seconds.append(time.monotonic() - started)
        assert result.returncode == 0
    assert min(seconds) < 0.5
    assert "kennel deploy JOB" in result.stdout


@pytest.mark.parametrize(
    "command",
    ["data check", "data split", "train", "tune", "best", "report", "deploy", "predict", "transform", "serve", "list",
     "describe", "logs", "stop", "interrupt", "delete"],
)  # fmt: skip
def test_every_command_has_help_and_the_options_that_all_have(command: str, tmp_path: Path) -> None:
    result = kennel(tmp_path, *command.split(), "--help")
    assert result.returncode == 0
    assert all(option in result.stdout for option in ("--on", "--home", "--json", "--dry-run"))


def test_the_journey_from_photographs_to_answers(faces: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    trained = kennel(home, "train", str(faces), "--name", "first", *SETTINGS)
    assert trained.returncode == 0, trained.stderr
    assert "first: Completed" in trained.stdout
    assert "#metric" not in trained.stdout
    assert f"model: file://{home}/output/first/output/model.tar.gz" in trained.stdout
    assert "next: kennel report first" in trained.stdout
    report = kennel(home, "report", "first", "--out", str(tmp_path / "report"), "--no-open", "--json")
    assert "metrics.json" in json.loads(report.stdout)["files"]
    deployed = kennel(home, "deploy", "first")
    assert "next: kennel predict first-endpoint PHOTO..." in deployed.stdout, deployed.stderr
    photograph = sorted((faces / "test").rglob("*.png"))[0]
    answers = json.loads(kennel(home, "predict", "first-endpoint", str(photograph), "--json").stdout)
    assert answers[str(photograph)]["predictions"][0]["label"] == photograph.parent.name
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    refused = kennel(home, "predict", "first-endpoint", str(bad))
    assert (refused.returncode, "Received client error (400)" in refused.stderr) == (3, True)
    out = tmp_path / "out"
    batch = kennel(home, "transform", "first", str(faces / "test"), str(out), "--name", "batch")
    assert batch.returncode == 0, batch.stderr
    assert len(list(out.rglob("*.png.out"))) == 10
    listed = json.loads(kennel(home, "list", "--json").stdout)
    assert [len(listed[noun]) for noun in ("TrainingJob", "TransformJob", "Endpoint")] == [1, 1, 1]
    assert "validation:loss" in kennel(home, "describe", "first").stdout
    assert "5 classes; photographs: 30 train" in kennel(home, "logs", "first").stdout
    assert kennel(home, "delete", "first-endpoint", "batch", "first").returncode == 0
    empty = json.loads(kennel(home, "list", "--json").stdout)
    assert not any(empty.values())
    assert json.loads(kennel(home, "list", "--kind", "model", "--json").stdout) == {"Model": []}


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(faces: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "train", str(faces), "--name", "long", *LONG]
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line == "long: Training\n" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 130
    assert "come back with `kennel logs -f long`" in said
    assert status(tmp_path, "long") == "InProgress"
    assert kennel(tmp_path, "delete", "long").returncode == 3
    assert kennel(tmp_path, "stop", "long").returncode == 0
    followed = kennel(tmp_path, "logs", "-f", "long")
    assert followed.returncode == 0
    assert status(tmp_path, "long") == "Stopped"


def status(home: Path, name: str) -> str:
    described: dict[str, Any] = json.loads(kennel(home, "describe", name, "--json").stdout)
    return str(described["TrainingJobStatus"])


def test_a_killed_launcher_does_not_harm_its_job(faces: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "train", str(faces), "--name", "alone", *SETTINGS]
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line == "alone: Training\n" for line in process.stdout)
        process.kill()
    until(lambda: status(tmp_path, "alone") == "Completed")


def test_two_launchers_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    data = tmp_path / "empty"
    data.mkdir()
    home = tmp_path / "home"
    same = [*COMMAND, "train", str(data), "--no-wait", "--name", "same"]
    processes = [
        subprocess.Popen(same, cwd=ROOT, env=environment(home), stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    others = [
        subprocess.Popen([*same[:-1], f"job-{i}"], cwd=ROOT, env=environment(home), stdout=subprocess.DEVNULL)
        for i in range(4)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 3, 3, 3]
    assert sum("a job with this name already exists" in text for text in errors) == 3
    assert [process.wait(60) for process in others] == [0] * 4
    until(lambda: kennel(home, "list", "--status", "Failed").stdout.count("Failed") == 5)


def test_a_failed_job_says_why_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = kennel(tmp_path / "home", "train", str(tmp_path / "empty"), "--name", "none")
    assert result.returncode == 1
    assert "none: Failed: ClientError: Data download failed: no files found under file://" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none"], "none: no such file or folder"),
        (["train", ".", "--set", "lr=-1", "--set", "epoch=2"], "lr=-1: must be in (0, 1]"),
        (["train", ".", "--set", "lr"], "expected NAME=VALUE"),
        (["train", ".", "--from", "none.json"], "expected a JSON object of hyperparameters"),
        (["train", "s3://bucket/dogs"], "take --on aws for S3"),
        (["train", "s3://bucket/dogs", "--on", "aws"], "no region"),
        (["tune", ".", "--strategy", "hyperband"], "--set epochs=27"),
        (["deploy", "none"], "no training job of that name on process"),
        (["describe", "none"], "`kennel list` shows what there is"),
        (["frobnicate"], "No such command"),
        (["train"], "Missing argument 'DATA'"),
        (["list", "--on", "mars"], "'mars' is not one of"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = kennel(tmp_path, *arguments)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written_exits_with_4(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    (tmp_path / "x").mkdir(exist_ok=True)
    assert kennel(tmp_path / "home", "train", ".").returncode == 4


@pytest.mark.parametrize("on", ["process", "docker"])
def test_a_dry_run_prints_requests_that_botocore_accepts_and_sends_none(on: str, faces: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    pack(faces, tmp_path / "model.tar.gz")
    common = ["--dry-run", "--on", on]
    printed = [
        kennel(home, "train", str(faces), "--spot", *common),
        kennel(home, "tune", str(faces), "--jobs", "3", "--strategy", "random", *common),
        kennel(home, "deploy", str(tmp_path / "model.tar.gz"), "--min", "2", *common),
        kennel(home, "transform", str(tmp_path / "model.tar.gz"), str(faces), str(tmp_path / "out"), *common),
    ]
    operations = []
    for result in printed:
        assert result.returncode == 0, result.stderr
        for item in documents(result.stdout):
            operations.append(item["operation"])
            check_request(item["operation"], item["request"])
    assert operations == [
        "CreateTrainingJob", "CreateHyperParameterTuningJob", "CreateModel", "CreateEndpointConfig", "CreateEndpoint",
        "CreateModel", "CreateTransformJob",
    ]  # fmt: skip
    assert not any(json.loads(kennel(home, "list", "--json").stdout).values())


def documents(text: str) -> list[Any]:
    """Read JSON documents that follow one another."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while position < len(text.rstrip()):
        item, position = decoder.raw_decode(text, position)
        position += len(text[position:]) - len(text[position:].lstrip())
        found.append(item)
    return found


def test_a_dry_run_of_aws_prints_the_same_requests_with_s3_and_asks_nobody(tmp_path: Path) -> None:
    variables = {
        **environment(tmp_path), "KENNEL_ON": "aws", "KENNEL_REGION": "eu-west-1", "KENNEL_OUTPUT": "s3://bucket/out",
        "KENNEL_ROLE": "arn:aws:iam::123456789012:role/kennel", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    command = [*COMMAND, "train", "s3://bucket/dogs", "--dry-run", "--name", "dogs"]
    result = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    request = json.loads(result.stdout)["request"]
    assert request["ResourceConfig"]["InstanceType"] == "ml.g5.xlarge"
    assert request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://bucket/dogs"


def test_a_best_file_trains(faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    file.write_text(json.dumps({"lr": "0.02", "batch-size": 16}))
    result = kennel(tmp_path / "home", "train", str(faces), "--from", str(file), "--set", "lr=0.03", "--dry-run")
    assert json.loads(result.stdout)["request"]["HyperParameters"] == {"lr": "0.03", "batch_size": "16"}


def test_the_shell_completes_commands_and_names(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "empty").mkdir()
    kennel(home, "train", str(tmp_path / "empty"), "--name", "completed-name", "--no-wait")

    def complete(*words: str) -> str:
        variables = {**environment(home), "_KENNEL_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words),
                     "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
        code = "from jobs.__main__ import kennel; kennel(prog_name='kennel')"
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=30).stdout

    assert "plain,train" in complete("kennel", "tra")
    assert complete("kennel", "describe", "compl") == "plain,completed-name\n"


def test_data_commands_split_and_check(faces: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = kennel(tmp_path, "data", "check", str(faces), "--sheet", str(sheet))
    assert (result.returncode, sheet.exists()) == (0, True)
    assert f"next: kennel train {faces}" in result.stdout
    out = tmp_path / "out"
    result = kennel(tmp_path, "data", "split", str(faces / "train"), str(out), "--json")
    assert json.loads(result.stdout)["counts"]["train"]["person_01"] == 4
    checked = kennel(tmp_path, "data", "check", str(out), "--json")
    assert json.loads(checked.stdout)["is_usable"] is True


def test_serve_answers_until_it_is_ended(trained: Path, tmp_path: Path) -> None:
    pack(trained / "model", tmp_path / "model.tar.gz")
    port = free_port()
    command = [*COMMAND, "serve", str(tmp_path / "model.tar.gz"), "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path)) as process:

        def answers() -> bool:
            try:
                return ask(port, "GET", "/ping", timeout=2).status == 200
            except OSError:
                return False

        until(answers)
        second = kennel(tmp_path, "serve", str(tmp_path / "model.tar.gz"), "--port", str(port))
        assert (second.returncode, f"port {port} is taken" in second.stdout) == (3, True)
        process.terminate()
        assert process.wait(40) == 0
