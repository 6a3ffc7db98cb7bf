"""Starts the parts of the local stack in order, keeps them up, and ends them in the reverse order."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
from pydantic import SecretStr

from cli.stack.binaries import temporal_binary
from cli.stack.environments import for_gateway, for_migrations, for_worker
from cli.stack.home import StackHome, StackState
from cli.stack.ports import require_free
from cli.stack.postgres import EmbeddedPostgres, PostgresUrls
from cli.stack.processes import Child, ProcessId, open_private, wait_until
from cli.stack.report import Report, timed
from cli.stack.schema import newest_revision
from cli.stack.temporal import TemporalDevServer
from taskforce.core.domain.errors import DomainError, Invalid, Unavailable
from taskforce.infrastructure.config.settings import REPOSITORY, Settings

_READY_SECONDS = 90
_MIGRATION_SECONDS = 300
_MIGRATIONS = REPOSITORY / "models" / "migrations" / "versions"
_WATCH_SECONDS = 0.25
_BACKOFF_SECONDS = 1.0
_BACKOFF_MOST_SECONDS = 30.0
_STABLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Programs:
    """The product's own programs, as commands.

    Attributes:
        migrate: Brings the schema up to date and ends.
        worker: Polls Temporal.
        gateway: Serves HTTP.
    """

    migrate: Sequence[str] = (sys.executable, "-m", "models.migrations", "upgrade")
    worker: Sequence[str] = (sys.executable, "-m", "worker")
    gateway: Sequence[str] = (sys.executable, "-m", "api")


class Part(Protocol):
    """The protocol of what the supervisor runs, and starts again after it stopped by itself."""

    def start(self) -> object:
        """Starts it, or starts it again."""

    def alive(self) -> bool:
        """Returns whether the part runs."""

    def identity(self) -> ProcessId | None:
        """Returns the part's process, while it runs."""

    def stop(self, grace_seconds: float) -> None:
        """Ends it within the grace, then hard."""


@dataclass(slots=True)
class _Supervised:
    name: str
    part: Part
    grace_seconds: float
    delay_seconds: float = _BACKOFF_SECONDS
    due: float | None = None
    since: float = field(default_factory=time.monotonic)


class _PostgresPart:
    """The embedded PostgreSQL as a part: it decides itself how long a clean stop takes."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server

    def start(self) -> PostgresUrls:
        return self._server.start()

    def alive(self) -> bool:
        return self._server.is_running()

    def identity(self) -> ProcessId | None:
        pid = self._server.pid()
        return ProcessId.of(pid) if pid and self.alive() else None

    def stop(self, grace_seconds: float) -> None:
        del grace_seconds
        self._server.stop()


class Stack:
    """One local stack, from its first process to its last.

    Args:
        settings: What the environment says.
        home: Where it keeps its data; the caller holds its lock.
        report: Hears what happens.
        programs: The product's own programs.
    """

    def __init__(self, settings: Settings, home: StackHome, report: Report, programs: Programs) -> None:
        self.settings = settings
        self.ending = threading.Event()
        self.interruptible = True
        self._home = home
        self._report = report
        self._programs = programs
        self._parts: list[_Supervised] = []
        self._environment = dict(os.environ)
        self._postgres: EmbeddedPostgres | None = None
        self._migration_url: str | None = None
        self._ready = False

    def bring_up(self) -> Settings:
        """Starts everything and waits until the gateway is ready.

        Returns:
            The settings with what was decided here: the secret for tokens, addresses.

        Raises:
            DomainError: A port is taken, a part does not start, a setting is missing.
        """
        self._end_leftovers()
        self._check_ports()
        self._decide_secret()
        self._decide_encryption_key()
        # Waited for only after PostgreSQL and the migrations, which take as long: the three start side by side.
        temporal = self._launch_temporal()
        self._start_postgres()
        self._migrate()
        if temporal:
            with timed(self._report, "Temporal") as stage:
                temporal.wait_ready()
                stage.note = temporal.exposure()
        self._start_product()
        return self.settings

    def watch(self) -> None:
        """Keeps the parts up until `ending` is set."""
        while not self.ending.wait(_WATCH_SECONDS):
            for supervised in self._parts:
                self._tend(supervised)

    def take_down(self) -> None:
        """Ends what was started here and nothing else: gateway, worker, Temporal, PostgreSQL."""
        self.ending.set()
        while self._parts:
            # Against the order of their starts: a worker that drains needs Temporal and PostgreSQL.
            supervised = self._parts[-1]
            self._report.busy(f"ending {supervised.name}")
            supervised.part.stop(supervised.grace_seconds)
            # Only when it has ended, so that a second Ctrl-C finds it.
            self._parts.pop()
        self._report.busy("")
        self._home.forget()

    def hurry(self) -> None:
        """Ends the remaining parts without grace, except PostgreSQL, which is quick and holds data."""
        for supervised in self._parts:
            supervised.grace_seconds = 0
        current = self._parts[-1] if self._parts else None
        # PostgreSQL is not killed: processes of it would go on writing to its data, and hold up the next start.
        identity = current.part.identity() if current and current.name != "postgres" else None
        if identity:
            identity.end(0)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Defers signals while a block runs that they must not cut in two: what has been started must be known."""
        self.interruptible = False
        try:
            yield
        finally:
            self.interruptible = True
        # A signal came meanwhile, and is heard now.
        if self.ending.is_set():
            raise KeyboardInterrupt

    def _end_leftovers(self) -> None:
        state = self._home.read()
        for name, process in state.processes.items() if state else ():
            if name != "postgres" and process.alive():
                self._report.note(f"ending a {name} that an earlier start left behind (pid {process.pid})")
                # At once: the Temporal for which it drains is gone, and the next worker gets its work.
                process.end(0)

    def _check_ports(self) -> None:
        require_free(self.settings.port, "TASKFORCE_PORT", self.settings.host)
        if not self.settings.temporal_address:
            require_free(self.settings.temporal_port, "TEMPORAL_PORT")
            if self.settings.local_ui_port:
                require_free(self.settings.local_ui_port, "TEMPORAL_UI_PORT")

    def _decide_secret(self) -> None:
        if self.settings.jwt_secret or self.settings.jwt_public_key:
            return
        if not self.settings.development:
            text = f"Profile {self.settings.profile} needs JWT_SECRET or JWT_PUBLIC_KEY; only `dev` makes its own."
            raise Invalid("bad_setting", text)
        secret = self._home.development_secret()
        self._environment["JWT_SECRET"] = secret
        self.settings = self.settings.model_copy(update={"jwt_secret": SecretStr(secret)})

    def _decide_encryption_key(self) -> None:
        if self.settings.encryption_key:
            return
        if not self.settings.development:
            text = f"Profile {self.settings.profile} needs TASKFORCE_ENCRYPTION_KEY; only `dev` makes its own."
            raise Invalid("bad_setting", text)
        self._environment["TASKFORCE_ENCRYPTION_KEY"] = self._home.encryption_key()

    def _launch_temporal(self) -> TemporalDevServer | None:
        if self.settings.temporal_address:
            return None
        self._report.busy("looking for the Temporal dev server")
        binary = temporal_binary(lambda text: self._report.busy(f"Temporal dev server: {text}"))
        server = TemporalDevServer(
            binary,
            log=self._home.log("temporal"),
            port=self.settings.temporal_port,
            ui_port=self.settings.local_ui_port,
            namespace=self.settings.temporal_namespace,
            database=self._home.temporal_database,
        )
        self._tell_of_temporal(server)
        with self._undisturbed():
            self._add("temporal", server, grace_seconds=10)
            server.launch()
        # At once: by this list the next start ends what a killed supervisor has left behind.
        self._write_state()
        return server

    def _tell_of_temporal(self, server: TemporalDevServer) -> None:
        ui = self.settings.temporal_ui_url or server.ui_url
        self._environment["TEMPORAL_ADDRESS"] = server.address
        if ui:
            self._environment["TEMPORAL_UI_URL"] = ui
        self.settings = self.settings.model_copy(update={"temporal_address": server.address, "temporal_ui_url": ui})

    def _start_postgres(self) -> None:
        if self.settings.database_url:
            given = self.settings.migration_database_url
            self._migration_url = given.get_secret_value() if given else None
            return
        self._postgres = server = EmbeddedPostgres(self._home.postgres)
        with timed(self._report, "PostgreSQL") as stage:
            with self._undisturbed():
                # Known before it runs, so that it is ended also when its set-up fails.
                self._add("postgres", _PostgresPart(server), grace_seconds=30, first=True)
                try:
                    urls = server.start()
                finally:
                    self._tell_of_opened(server.opened)
            stage.note = f"embedded, {self._home.postgres}"
        self._environment["DATABASE_URL"] = urls.app
        self._migration_url = urls.owner
        self._write_state()

    def _tell_of_opened(self, opened: Sequence[Path]) -> None:
        if opened:
            names = ", ".join(map(str, opened))
            self._report.note(
                f"opened for others to pass (o+x), as root's PostgreSQL runs as a user of its own: {names}"
            )

    def _at_head(self) -> bool:
        """Asks the database itself: the process that would find the same takes seconds to import what it needs."""
        newest = newest_revision(_MIGRATIONS)
        return bool(self._postgres and newest and self._postgres.schema_revisions() == {newest})

    def _migrate(self) -> None:
        if self._migration_url is None:
            self._report.note("MIGRATION_DATABASE_URL is not set: the schema is taken as it is")
            return
        with timed(self._report, "Migrations") as stage:
            if self._at_head():
                stage.note = "at head"
                return
            self._apply_migrations(self._migration_url)
            stage.note = "applied"

    def _apply_migrations(self, url: str) -> None:
        log = self._home.log("migrations")
        with open_private(log) as output:
            result = subprocess.run(  # noqa: S603  the product's own program
                list(self._programs.migrate),
                env={**for_migrations(self._environment), "MIGRATION_DATABASE_URL": url},
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_MIGRATION_SECONDS,
                check=False,
                # Ctrl-C reaches every process of a terminal's session; ours are ended in order instead.
                start_new_session=True,
            )
        if result.returncode:
            raise Unavailable("migrations_failed", f"The migrations failed; see {log}.")

    def _start_product(self) -> None:
        # Unbuffered, so that the log has the last lines of a process that was killed.
        environment = {**self._environment, **self._paths(), "PYTHONUNBUFFERED": "1"}
        profiles = self.settings.config_dir
        with timed(self._report, "Worker, gateway") as stage:
            children = [
                self._child("worker", self._programs.worker, for_worker(environment, profiles), grace_seconds=20),
                self._child("gateway", self._programs.gateway, for_gateway(environment, profiles), grace_seconds=10),
            ]
            self._write_state()
            self._wait_ready(children)
            stage.note = self.settings.url
        self._ready = True
        self._write_state()

    def _paths(self) -> dict[str, str]:
        """Resolves paths that were relative to where the person stands; the children run elsewhere."""
        settings = self.settings
        paths = {
            "TASKFORCE_HOME": self._home.path,
            "TASKFORCE_CONFIG_DIR": settings.config_dir,
            "TEMPORAL_TLS_CA": settings.temporal_tls_ca,
            "TEMPORAL_TLS_CERT": settings.temporal_tls_cert,
            "TEMPORAL_TLS_KEY": settings.temporal_tls_key,
        }
        return {name: str(path.resolve()) for name, path in paths.items() if path}

    def _child(self, name: str, command: Sequence[str], environment: dict[str, str], *, grace_seconds: float) -> Child:
        child = Child(name, command, log=self._home.log(name), environment=environment, directory=REPOSITORY)
        with self._undisturbed():
            self._add(name, child, grace_seconds=grace_seconds)
            child.start()
        return child

    def _wait_ready(self, children: Sequence[Child]) -> None:
        def settled() -> bool:
            return not all(child.alive() for child in children) or self._gateway_ready()

        in_time = wait_until(settled, _READY_SECONDS)
        for child in children:
            if not child.alive():
                raise Unavailable(f"{child.name}_ended", f"The {child.name} ended:\n{child.last_words()}")
        if not in_time:
            text = f"The gateway was not ready within {_READY_SECONDS} s; see {self._home.logs}."
            raise Unavailable("not_ready", text)

    def _gateway_ready(self) -> bool:
        # Those stand for all addresses, and are none to connect to.
        host = "127.0.0.1" if self.settings.host in {"0.0.0.0", "::"} else self.settings.host  # noqa: S104  compared
        try:
            # A proxy that the person has set would be asked for this machine.
            return httpx.get(f"http://{host}:{self.settings.port}/ready", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def _add(self, name: str, part: Part, *, grace_seconds: float, first: bool = False) -> None:
        # The first is ended last: PostgreSQL starts after Temporal, and must outlive what writes to it.
        self._parts.insert(0 if first else len(self._parts), _Supervised(name, part, grace_seconds))
        self._write_state()

    def _write_state(self) -> None:
        supervisor = ProcessId.of(os.getpid())
        if supervisor is None:
            return
        found = {supervised.name: supervised.part.identity() for supervised in self._parts}
        state = StackState(
            url=self.settings.url,
            temporal_address=self.settings.temporal_target,
            temporal_namespace=self.settings.temporal_namespace,
            temporal_ui_url=self.settings.temporal_ui_url,
            profile=self.settings.profile,
            supervisor=supervisor,
            processes={name: process for name, process in found.items() if process},
            ports={
                "gateway": self.settings.port,
                "temporal": self.settings.temporal_port,
                **({"temporal_ui": ui_port} if (ui_port := self.settings.local_ui_port) else {}),
            },
            ready=self._ready,
        )
        self._home.write(state)

    def _tend(self, supervised: _Supervised) -> None:
        now = time.monotonic()
        if supervised.part.alive():
            if now - supervised.since > _STABLE_SECONDS:
                supervised.delay_seconds = _BACKOFF_SECONDS
        elif supervised.due is None:
            supervised.due = now + supervised.delay_seconds
            self._report.note(f"{supervised.name} ended; starting it again in {supervised.delay_seconds:.0f} s")
            # One that fails at once, each time, must not keep the machine busy with its starts.
            supervised.delay_seconds = min(2 * supervised.delay_seconds, _BACKOFF_MOST_SECONDS)
        elif now >= supervised.due:
            self._restart(supervised)

    def _restart(self, supervised: _Supervised) -> None:
        supervised.due, supervised.since = None, time.monotonic()
        try:
            supervised.part.start()
        except DomainError as error:
            self._report.note(f"{supervised.name} did not start again: {error.message}")
        self._write_state()
