"""The `serve` command: gunicorn with the application, as SageMaker starts it."""

import logging
import os
import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from container.errors import UserError
from container.paths import ContainerPaths
from container.settings import from_environment
from serve.config import ServeConfig
from serve.gunicorn_conf import gunicorn_settings
from serve.sizing import Sizes, choose_sizes

logger = logging.getLogger(__name__)


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with our settings; each worker process builds the application, and so loads the model, itself."""

    def __init__(self, config: ServeConfig, paths: ContainerPaths, sizes: Sizes) -> None:
        self._config = config
        self._sizes = sizes
        self._paths = paths
        super().__init__()

    def load_config(self) -> None:
        """Hand our settings to gunicorn."""
        for name, value in gunicorn_settings(self._config, self._sizes.num_workers).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application, in a worker."""
        from serve.app import create_app

        return create_app(self._config, self._paths, self._sizes)


def main() -> int:
    """Serve until a signal; the exit code is gunicorn's."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = from_environment(ServeConfig, os.environ)
    except UserError as error:
        logger.error("UserError: %s", error)
        return error.exit_code
    paths = ContainerPaths.from_environment(os.environ)
    sizes = choose_sizes(config, paths.model)
    logger.info("serving %s on port %d: %s", paths.model, config.port, sizes.arithmetic)
    Server(config, paths, sizes).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
