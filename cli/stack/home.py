"""The directory of the local stack (`.taskforce`): its lock, its state and its development secrets."""

import base64
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.stack.locks import exclusive
from cli.stack.processes import ProcessId

_SECRET_BYTES = 32


class StackState(BaseModel):
    """The state of a running stack, for the other commands. Holds no secret.

    Attributes:
        url: The gateway.
        temporal_ui_url: Where the Temporal UI answers, if it is known.
        supervisor: The process of `taskforce up`.
        processes: What it started, by name.
        ready: Whether the gateway has said that it is.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    url: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str | None
    profile: str
    supervisor: ProcessId
    processes: Mapping[str, ProcessId] = Field(default_factory=dict)
    ports: Mapping[str, int] = Field(default_factory=dict)
    ready: bool = False

    def running(self) -> bool:
        """Returns whether the stack's supervisor is alive."""
        return self.supervisor.alive()


class StackHome:
    """Paths below one home directory, and what is kept in them.

    Args:
        path: The directory; made when first needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def logs(self) -> Path:
        """Returns the directory of the processes' logs."""
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        """Returns the data directory of the embedded PostgreSQL."""
        return self.path / "postgres"

    @property
    def temporal_database(self) -> Path:
        """Returns the database file of the Temporal dev server."""
        return self.path / "temporal" / "temporal.db"

    def log(self, name: str) -> Path:
        """Returns the log file of one process."""
        return self.logs / f"{name}.log"

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Holds the directory for one supervisor. The kernel frees it, however that ends.

        Raises:
            Conflict: Another `taskforce up` holds it.
        """
        self._make()
        with exclusive(self.path / "up.lock", seconds=0):
            self._tighten()
            yield

    def read(self) -> StackState | None:
        """Reads the state that was written last, or None when there is none that can be read."""
        try:
            return StackState.model_validate_json((self.path / "state.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, state: StackState) -> None:
        """Replaces the state, readable by this user only."""
        self._make()
        _write_private(self.path / "state.json", state.model_dump_json(indent=2))

    def forget(self) -> None:
        """Removes the state: nothing runs."""
        (self.path / "state.json").unlink(missing_ok=True)

    def development_secret(self) -> str:
        """Returns the secret that signs development tokens here; made once, readable by this user only."""
        return self._kept("dev-secret", lambda: secrets.token_hex(_SECRET_BYTES))

    def encryption_key(self) -> str:
        """Returns the key that seals columns here, in base64; made once, readable by this user only.

        It belongs to the data beside it: without it, what it has sealed opens nowhere.
        """
        return self._kept("encryption-key", lambda: base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode())

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        self._make()
        path = self.path / name
        if not path.exists():
            _write_private(path, make())
        return path.read_text().strip()

    def _make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _tighten(self) -> None:
        """Makes what may hold prompts and answers this user's only, also where an older version was laxer."""
        for directory, ours in ((self.logs, "*.log*"), (self.temporal_database.parent, "temporal.db*")):
            directory.mkdir(mode=0o700, exist_ok=True)
            for path in (directory, *directory.glob(ours)):
                _close(path)


def _close(path: Path) -> None:
    mode = path.lstat().st_mode
    # Not through links: what they lead to is not ours to change.
    if mode & 0o077 and (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        path.chmod(stat.S_IMODE(mode) & 0o700)


def _write_private(path: Path, text: str) -> None:
    # Replaced as a whole: other commands read the state while it is written.
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
