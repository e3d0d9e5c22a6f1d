"""The supervisor of one job, which outlives its launcher: `python -m jobs.runner KIND NAME HOME TARGET`."""

import sys
from pathlib import Path

from jobs.config import features_folder
from jobs.kinds import ENDPOINT, KINDS, TRAINING, TRANSFORM, TUNING, Kind
from jobs.store import NotFoundError, Store, now
from jobs.supervisor import ShutdownError, shorten


def main() -> int:
    """Work for the job until its end."""
    noun, name, home, target = sys.argv[1:]
    kind = next(kind for kind in KINDS if kind.noun == noun)
    store = Store(Path(home, target))
    try:
        supervise(kind, name, store, Path(home), target)
    except (ShutdownError, NotFoundError):
        return 0
    except Exception as error:
        with store.change(kind, name) as record:
            record.description |= {kind.status: "Failed", "LastModifiedTime": now()}
            record.description["FailureReason"] = shorten(
                f"InternalServerError: {type(error).__name__}: {error}; see {store.folder(kind, name)}/supervisor.txt"
            )
        raise
    return 0


def supervise(kind: Kind, name: str, store: Store, home: Path, target: str) -> None:
    """Choose who works for the kind of job; imports no more than that needs."""
    features = features_folder(home)
    if kind is TRAINING:
        from jobs.training import TrainingSupervisor

        TrainingSupervisor(store, kind, name, features).run()
    elif kind is TUNING:
        from jobs.targets.process import ProcessClient
        from jobs.tuning import TuningSupervisor

        TuningSupervisor(store, name, features, ProcessClient(home, target)).run()
    elif kind is TRANSFORM:
        from jobs.transform import TransformSupervisor

        TransformSupervisor(store, kind, name, features).run()
    elif kind is ENDPOINT:
        from jobs.endpoint import EndpointSupervisor

        EndpointSupervisor(store, kind, name, features).run()


if __name__ == "__main__":
    sys.exit(main())
