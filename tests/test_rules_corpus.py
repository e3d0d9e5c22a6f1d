"""A small part of the corpus: real training runs, ill and healthy, and what the rules say of them."""

import os
import subprocess
import sys

from support import ROOT

ILL = ("lr 100, SGD, batch norm", "leak into test, probe", "dead ReLUs, plain network")
HEALTHY = "residual network, moving average"


def test_three_illnesses_are_named_and_a_healthy_run_has_no_problem() -> None:
    command = [sys.executable, "benchmarks/rules_corpus.py", "--cases", *ILL, HEALTHY]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 3 illnesses are named by their rule; 1 of 1 healthy runs have no more than advice" in result.stdout
