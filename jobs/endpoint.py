"""Supervises an endpoint: starts the server, watches it, starts it again when it dies."""

import time
from collections import deque

from jobs.kinds import ENDPOINT_CONFIG, MODEL
from jobs.serving import GRACE_SECONDS, STARTUP_TIMEOUT_SECONDS, DiedError, ServerError, ServerSupervisor
from jobs.store import Description, NotFoundError
from jobs.supervisor import Wish, shorten

MAX_DEATHS = 3
DEATHS_WITHIN_SECONDS = 120.0
"""An endpoint whose server dies MAX_DEATHS times within this time has failed."""


class EndpointSupervisor(ServerSupervisor):
    """Keeps an endpoint in service until it is deleted."""

    def run(self) -> None:
        """Serve until a wish to delete; end as Failed when the server cannot be kept alive."""
        try:
            self._serve_until_deleted()
        except ServerError as error:
            name = self.record().description["ProductionVariants"][0]["VariantName"]
            reason = (
                f"The primary container for production variant {name} did not pass the ping health check: {error}. "
                f"See `kennel logs {self.name}`."
            )
            self.update(EndpointStatus="Failed", FailureReason=shorten(reason))
            return
        self.store.remove(self.kind, self.name)

    def _serve_until_deleted(self) -> None:
        container, variant = self._configuration()
        self.put_model(container)
        deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        while True:
            try:
                self._serve(container, variant)
            except DiedError:
                deaths.append(time.monotonic())
                if len(deaths) == MAX_DEATHS and deaths[-1] - deaths[0] < DEATHS_WITHIN_SECONDS:
                    raise
            else:
                return

    def _configuration(self) -> tuple[Description, Description]:
        """Find the container and the variant of the endpoint's configuration. Raises ServerError."""
        try:
            config = self.store.read(ENDPOINT_CONFIG, self.record().description["EndpointConfigName"]).description
            variant: Description = config["ProductionVariants"][0]
            container: Description = self.store.read(MODEL, variant["ModelName"]).description["PrimaryContainer"]
        except NotFoundError as error:
            raise ServerError(f"{error} was deleted") from error
        return container, variant

    def _serve(self, container: Description, variant: Description) -> None:
        """Run a server until the endpoint is to be deleted. Raises DiedError when it ends by itself."""
        # An instance of the service is a worker process here, with a model of its own.
        workers = str(variant.get("InitialInstanceCount", 1))
        child, port = self.start_server(container, {"SAGEMAKER_MODEL_SERVER_WORKERS": workers})
        try:
            timeout = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_TIMEOUT_SECONDS)
            self.wait_until_ready(child, port, timeout, Wish.DELETE)
            self._announce(port)
            while not self.wishes(Wish.DELETE):
                if child.exit_code is not None:
                    self._retract()
                    raise DiedError(f"the server ended with exit code {child.exit_code}{self.last_words()}")
                self.pause()
        finally:
            child.stop(GRACE_SECONDS)

    def _announce(self, port: int) -> None:
        with self.store.change(self.kind, self.name) as record:
            record.private["Port"] = port
        if not self.wishes(Wish.DELETE):
            self.update(EndpointStatus="InService")

    def _retract(self) -> None:
        if not self.wishes(Wish.DELETE):
            self.update(EndpointStatus="SystemUpdating")
