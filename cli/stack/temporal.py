"""The Temporal dev server: one process, on loopback, in memory or over a file."""

import json
import secrets
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from pydantic import BaseModel, Field, ValidationError

from cli.stack.ports import free_port, is_free
from cli.stack.processes import Child, ProcessId, environment_without, wait_until
from taskforce.core.domain.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from cli.stack.temporal_ui import CheckedUI

SEARCH_ATTRIBUTES = (
    "TaskforceTenant",
    "TaskforceAgent",
    "TaskforceUser",
    "TaskforceStatus",
    "TaskforceWaitingFor",
    "ApprovalType",
    "ApprovalStatus",
)
"""Keyword attributes by which operators find runs and approvals."""

_HOST = "127.0.0.1"
_START_SECONDS = 60
_STOP_SECONDS = 10
# A port that was free a moment ago may be somebody else's when the server gets to it.
_STARTS = 5
_PORT_TAKEN = "address already in use"
# The dev server polls its one shard 20 times a second unless told otherwise; without eager execution some activities
# wait for two seconds.
_DYNAMIC_CONFIG = {"history.transferProcessorMaxPollRPS": "2000", "system.enableActivityEagerExecution": "true"}
# Tenants take turns in a queue's backlog. The server keeps such a backlog in another table, and does not bring over
# what the first one holds: with the other setting it never finds the tasks that wait. A fair server puts the tasks of
# sticky queues in the first table, too, so once it has been fair it stays so.
_FAIRNESS = {"matching.enableFairness": "true"}
_IS_FAIR = "SELECT EXISTS (SELECT 1 FROM task_queues_v2) OR NOT EXISTS (SELECT 1 FROM tasks)"
# A crash of the machine may lose the last moments of a development server, but the file stays whole.
_PRAGMAS = ("journal_mode=wal", "synchronous=normal")


class _SearchAttributes(BaseModel):
    custom: dict[str, str] = Field(default_factory=dict, alias="customAttributes")


class TemporalDevServer:
    """A Temporal server for development and tests.

    Its HTTP API, which takes a form of any web page, answers to a name that only this object knows: a browser sends the
    name that a page has been loaded from, or the address. Its UI is served behind a check, see `cli.stack.temporal_ui`.

    Args:
        binary: The `temporal` program, see `cli.stack.binaries.temporal_binary`.
        log: File for its output.
        port: Of its frontend; 0 takes a free one, which is certain once the server is ready.
        ui_port: Of its UI; 0 takes a free one, None leaves the UI out.
        namespace: Made at its start.
        search_attributes: Names of Keyword attributes; those that a database file lacks are added.
        database: Its file; None keeps everything in memory.
        dynamic_config: Further server settings, values as JSON.
    """

    def __init__(
        self,
        binary: Path,
        *,
        log: Path,
        port: int = 0,
        ui_port: int | None = None,
        namespace: str = "default",
        search_attributes: Sequence[str] = SEARCH_ATTRIBUTES,
        database: Path | None = None,
        dynamic_config: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        # Clients may know the port once it was given, or once the server was ready.
        self._keeps_port = bool(port)
        self.ui_port = free_port() if ui_port == 0 else ui_port
        self.namespace = namespace
        self._binary = binary
        self._log = log
        self._http_port = free_port()
        # No name server answers for `.invalid` (RFC 2606, section 2), so that no page can be loaded from the name.
        self._http_name = f"{secrets.token_hex(16)}.invalid"
        self._ui: CheckedUI | None = None
        self._attributes = tuple(search_attributes)
        self._database = database
        # Nexus is off because it has routes past the allowed hosts.
        guards = {"frontend.httpAllowedHosts": json.dumps([self._http_name]), "system.enableNexus": "false"}
        self._dynamic_config = {**_DYNAMIC_CONFIG, **guards, **(dynamic_config or {})}
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """Returns `host:port` for clients."""
        return f"{_HOST}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """Returns the URL of the web UI, or None without one."""
        return f"http://{_HOST}:{self.ui_port}" if self.ui_port else None

    def start(self) -> None:
        """Starts it and waits until it is ready; see `launch` and `wait_ready`."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Starts it and returns at once, so that other things can start meanwhile."""
        if self._database:
            self._database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._child = Child(
            "temporal",
            [str(self._binary), *self._arguments(), *self._open_ui()],
            log=self._log,
            # Its own command line reads TEMPORAL_ADDRESS and the like as options.
            environment=environment_without("TEMPORAL_"),
            directory=self._log.parent,
        )
        self._child.start()

    def wait_ready(self, seconds: float = _START_SECONDS) -> None:
        """Waits until the frontend knows the namespace and its search attributes.

        A server that lost one of its free ports to somebody else is started again, with others.

        Args:
            seconds: How long to wait at most.

        Raises:
            Unavailable: It ended, or does not answer in time; the message has the end of its log.
        """
        starts = 1
        while not self._answers(seconds):
            if starts == _STARTS or not self._lost_port():
                raise Unavailable("temporal_ended", f"The Temporal dev server did not start:\n{self._last_words()}")
            starts += 1
            self.launch()
        self._keeps_port = True
        self._add_missing_attributes()

    def alive(self) -> bool:
        """Returns whether the server runs."""
        return self._child is not None and self._child.alive()

    def exposure(self) -> str:
        """Returns, for people, what listens where and for whom."""
        ui = f"UI {self.ui_url}, for its own pages only" if self.ui_url else "no UI"
        # An older program does not know the setting, and answers to any name.
        closed = self._get("", name=_HOST) is None
        http = (
            "HTTP API closed"
            if closed
            else f"HTTP API OPEN TO ANY PAGE at {_HOST}:{self._http_port}, update `temporal`"
        )
        return f"{self.address}, without sign-in for everybody on this machine; {ui}; {http}"

    def identity(self) -> ProcessId | None:
        """Returns the server's process, or None when it does not run."""
        return self._child.identity() if self._child else None

    def stop(self, grace_seconds: float = _STOP_SECONDS) -> None:
        """Ends it by its pid; nothing happens when it does not run."""
        self._close_ui()
        if self._child:
            self._child.stop(grace_seconds)

    def _answers(self, seconds: float) -> bool:
        """Waits until the server answers; returns False when it has ended instead."""
        if not wait_until(lambda: not self.alive() or self._knows_namespace(), seconds):
            raise Unavailable("temporal_silent", f"The Temporal dev server does not answer:\n{self._last_words()}")
        return self.alive()

    def _lost_port(self) -> bool:
        """Returns whether the server ended for want of a port that may be another; takes other ones if so."""
        # It says so in its log alone.
        if _PORT_TAKEN not in self._last_words():
            return False
        if not is_free(self.port):
            if self._keeps_port:
                return False
            self.port = free_port()
        self._http_port = free_port()
        return True

    def _arguments(self) -> list[str]:
        arguments = [
            "server",
            "start-dev",
            "--ip",
            _HOST,
            "--port",
            str(self.port),
            "--http-port",
            str(self._http_port),
        ]
        arguments += ["--log-level", "warn", "--namespace", self.namespace]
        for name in self._attributes:
            arguments += ["--search-attribute", f"{name}=Keyword"]
        fairness = _FAIRNESS if _is_fair(self._database) else {}
        for name, value in {**fairness, **self._dynamic_config}.items():
            arguments += ["--dynamic-config-value", f"{name}={value}"]
        return arguments + self._storage_arguments()

    def _open_ui(self) -> list[str]:
        """Serves the UI behind its check; returns the arguments that have the server bring the UI itself."""
        self._close_ui()
        if not self.ui_port:
            return ["--headless"]
        # Loaded where there is a UI only: tests and most commands have none.
        from cli.stack.temporal_ui import CheckedUI, hidden_address

        address = hidden_address()
        port = free_port(address)
        self._ui = CheckedUI(self.ui_port, f"http://{address}:{port}")
        self._ui.start()
        return ["--ui-ip", address, "--ui-port", str(port)]

    def _close_ui(self) -> None:
        if self._ui:
            self._ui.stop()
            self._ui = None

    def _storage_arguments(self) -> list[str]:
        if self._database is None:
            return []
        pragmas = [part for pragma in _PRAGMAS for part in ("--sqlite-pragma", pragma)]
        return ["--db-filename", str(self._database), *pragmas]

    def _knows_namespace(self) -> bool:
        return self._get("") is not None

    def _add_missing_attributes(self) -> None:
        answer = self._get("/search-attributes")
        try:
            known = _SearchAttributes.model_validate_json(answer or b"").custom
        except ValidationError:
            known = {}
        if missing := [name for name in self._attributes if name not in known]:
            self._create_attributes(missing)

    def _create_attributes(self, names: Sequence[str]) -> None:
        # The flags count for a new database only.
        command = [str(self._binary), "operator", "search-attribute", "create", "--address", self.address]
        command += ["--namespace", self.namespace]
        for name in names:
            command += ["--name", name, "--type", "Keyword"]
        result = subprocess.run(  # noqa: S603
            command, env=environment_without("TEMPORAL_"), capture_output=True, text=True, check=False, timeout=30
        )
        if result.returncode:
            text = f"Temporal refused the search attributes {', '.join(names)}: {result.stderr.strip()}"
            raise Conflict("search_attributes", text)

    def _get(self, path: str, *, name: str = "") -> bytes | None:
        url = f"http://{_HOST}:{self._http_port}/api/v1/namespaces/{self.namespace}{path}"
        try:
            # A proxy that the person has set would be asked for this machine.
            answer = httpx.get(url, headers={"Host": name or self._http_name}, timeout=2, trust_env=False)
        except httpx.HTTPError:
            return None
        return answer.content if answer.is_success else None

    def _last_words(self) -> str:
        return self._child.last_words() if self._child else ""


def _is_fair(database: Path | None) -> bool:
    """Tells whether the server was fair before, or no task waits in the table of servers without fairness."""
    if database is None or not database.exists():
        return True
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return bool(connection.execute(_IS_FAIR).fetchone()[0])
    except sqlite3.Error:
        # Not a file of this server's, or of a version that keeps its tasks elsewhere.
        return False
