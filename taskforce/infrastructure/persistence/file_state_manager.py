"""State of sessions in files, for programs that embed the library (guide 5.2)."""

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from taskforce.core.domain.errors import Invalid, Unavailable

MAX_NAME: Final = 200
_SUFFIX: Final = ".json"


class FileStateManager:
    """Keeps the state of each session as a JSON file that only the own user may read.

    Args:
        work_dir: The folder; it is made when the first state is stored.
    """

    def __init__(self, work_dir: str | Path = ".taskforce") -> None:
        self._states = Path(work_dir) / "states"

    async def save_state(self, session_id: str, state_data: dict[str, Any]) -> None:
        """Stores the state of a session in place of an earlier one: whole, or not at all.

        Args:
            session_id: The session.
            state_data: JSON data.

        Raises:
            Invalid: `session_id_invalid`; `json_invalid`.
            Unavailable: `state_unavailable`: the folder cannot be written.
        """
        path = self._path(session_id)
        try:
            text = json.dumps(state_data, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise Invalid("json_invalid", "The state of a session is JSON data.") from None
        await asyncio.to_thread(_write, path, text.encode("utf-8", "surrogatepass"))

    async def load_state(self, session_id: str) -> dict[str, Any] | None:
        """Returns the state of a session; None without one.

        Raises:
            Invalid: `session_id_invalid`; `json_invalid`: its file was changed.
            Unavailable: `state_unavailable`: the file cannot be read.
        """
        text = await asyncio.to_thread(_read, self._path(session_id))
        if text is None:
            return None
        try:
            found = json.loads(text.decode("utf-8", "surrogatepass"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Invalid("json_invalid", f"The file of session {session_id!r} holds no state.")
        return found

    async def delete_state(self, session_id: str) -> bool:
        """Deletes the state of a session; False when there was none.

        Raises:
            Invalid: `session_id_invalid`.
            Unavailable: `state_unavailable`.
        """
        return await asyncio.to_thread(_delete, self._path(session_id))

    def _path(self, session_id: str) -> Path:
        name = quote(session_id.encode("utf-8", "surrogatepass"), safe="").replace(".", "%2E")
        if not 0 < len(name) <= MAX_NAME:
            raise Invalid("session_id_invalid", f"A session's id has 1 to {MAX_NAME} characters.")
        return self._states / f"{name}{_SUFFIX}"


def _write(path: Path, text: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Readable by the own user alone, as `tempfile` makes it.
        descriptor, draft = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unavailable(error) from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unavailable(error) from error


def _delete(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unavailable(error) from error
    return True


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable("state_unavailable", f"The state of a session cannot be stored or read: {error.strerror}.")
