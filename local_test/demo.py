"""From photographs to an answer over HTTP, in one process tree, without AWS or Docker: `make demo [DATA=folder]`."""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_test_dir import make_test_dir
from sample_data import sample_photographs

START_TIMEOUT_SECONDS = 60


def main() -> int:
    """Train, serve, ask, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with train / valid / test folders, or with class folders")
    data = parser.parse_args().data
    if data is not None and not data.is_dir():
        parser.error(f"DATA={data}: no such folder")
    with tempfile.TemporaryDirectory(prefix="kennel-demo-") as folder:
        data = data.absolute() if data else sample_photographs()
        root = make_test_dir(Path(folder), data, {"strategy": "linear_probe"}, link=True)
        environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(root)}
        print(f"1. train on {data}", flush=True)
        code = train(environment)
        if code:
            return code
        show_accuracy(root)
        photograph = held_out_photograph(data)
        with serving(environment) as url:
            ask(url, photograph)
    print("4. stopped; nothing is left running")
    return 0


def train(environment: dict[str, str]) -> int:
    """Run the `train` command, its metric lines kept out of sight."""
    command = [sys.executable, "-m", "train"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("#metric"):
                print(line, end="", flush=True)
    return process.returncode


def show_accuracy(root: Path) -> None:
    """Print the accuracy on photographs that were not trained on."""
    metrics = json.loads((root / "output" / "data" / "metrics.json").read_text())
    split = "test" if "test:accuracy" in metrics else "validation"
    accuracy, loss = metrics[f"{split}:accuracy"], metrics[f"{split}:loss"]
    print(f"2. accuracy on the held-out photographs ({split}): {accuracy:.3f}, loss {loss:.3f}", flush=True)


def held_out_photograph(data: Path) -> Path:
    """Choose a photograph, a test one where there is one."""
    for folder in (data / "test", data / "valid", data / "validation", data):
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp"):
                return file
    raise SystemExit(f"{data}: no photograph to ask about")


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[str]:
    """Run the `serve` command on a free port, and stop it as SageMaker does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "serve"]
    started = time.monotonic()
    process = subprocess.Popen(command, env={**environment, "SAGEMAKER_BIND_TO_PORT": str(port)})
    try:
        while not is_ready(url):
            if process.poll() is not None or time.monotonic() - started > START_TIMEOUT_SECONDS:
                raise SystemExit("the server did not become ready; its log is above")
            time.sleep(0.05)
        print(f"3. {url}/ping answers 200, {time.monotonic() - started:.1f} s after the start", flush=True)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_ready(url: str) -> bool:
    """Ask /ping."""
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def ask(url: str, photograph: Path) -> None:
    """Send a photograph as curl would and print the answer."""
    command = f"curl --data-binary @'{photograph}' -H 'Content-Type: application/x-image' {url}/invocations"
    print(f"   $ {command}", flush=True)
    headers = {"Content-Type": "application/x-image"}
    request = urllib.request.Request(f"{url}/invocations", data=photograph.read_bytes(), headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    for prediction in answer["predictions"]:
        print(f"   {prediction['probability']:.4f}  {prediction['label']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
