"""gunicorn's settings, each with its reason."""

from pathlib import Path

from serve.config import ServeConfig

GRACEFUL_TIMEOUT_SECONDS = 25
"""SageMaker sends SIGKILL 30 s after SIGTERM."""

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - holds gunicorn's heartbeat file only


def gunicorn_settings(config: ServeConfig, num_workers: int) -> dict[str, object]:
    """Build gunicorn's settings."""
    return {
        "bind": f"{config.bind_address}:{config.port}",
        "workers": num_workers,
        # Threads decode side by side, since Pillow and OpenVINO release the lock, and leave some free for /ping.
        "worker_class": "gthread",
        "threads": config.num_threads,
        "graceful_timeout": GRACEFUL_TIMEOUT_SECONDS,
        "timeout": 75,
        "keepalive": 75,
        # A heartbeat file on a slow or read-only disk would stall or stop the workers.
        "worker_tmp_dir": str(MEMORY_FOLDER) if MEMORY_FOLDER.is_dir() else None,
        "control_socket_disable": True,
        "accesslog": None,
        "loglevel": "warning",
    }
