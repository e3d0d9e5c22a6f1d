"""What several tests need."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

NUM_CLASSES = 5


def run_train(root: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the `train` command to its end."""
    command = [sys.executable, "-m", "train", *arguments]
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(root)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
