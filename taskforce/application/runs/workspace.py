"""Workspace and stored results of a run, as its tools use them; both are rows, so no path leads out of the run."""

import re

from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Store
from taskforce.core.interfaces.tools import StoredFile, ToolFailure

MAX_FILE_BYTES = 5_000_000
MAX_FILES = 200
_NAME = r"[^\x00-\x1f/\\\ud800-\udfff]{1,100}"
_PATH = re.compile(rf"{_NAME}(/{_NAME}){{0,5}}")


def checked_path(path: str) -> str:
    """Requires a plain relative path.

    Returns:
        The path, unchanged.

    Raises:
        ToolFailure: The path is absolute, has `.` or `..` or a backslash in it, is too long or too deep.
    """
    parts = path.split("/")
    if not _PATH.fullmatch(path) or any(part in {".", ".."} or part.strip() != part for part in parts):
        raise ToolFailure(f"{path[:80]!r} is not a path here; use a relative path such as notes.txt or drafts/one.md.")
    return path


class RunWorkspace:
    """Files of a run; fulfils `Workspace`."""

    def __init__(self, store: Store, tenant_id: str, run_id: str, clock: Clock) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._run_id = run_id
        self._clock = clock

    async def read(self, path: str) -> bytes:
        """Reads a file.

        Raises:
            ToolFailure: There is none, or the path is malformed.
        """
        async with self._store.tenant(self._tenant_id) as records:
            content = await records.files.read(self._run_id, checked_path(path))
        if content is None:
            raise ToolFailure(f"There is no file {path!r} in this run's workspace.")
        return content

    async def write(self, path: str, content: bytes) -> None:
        """Creates or replaces a file.

        Raises:
            ToolFailure: It has more than `MAX_FILE_BYTES`, there are `MAX_FILES` others, or the path is malformed.
        """
        checked = checked_path(path)
        if len(content) > MAX_FILE_BYTES:
            raise ToolFailure(f"A file may have at most {MAX_FILE_BYTES} bytes; this has {len(content)}.")
        async with self._store.tenant(self._tenant_id) as records:
            # The lock of the run: of writes at once, each would count the files that were there before all of them.
            await records.runs.locked(self._run_id)
            stored = {file.path for file in await records.files.list(self._run_id)}
            if len(stored | {checked}) > MAX_FILES:
                raise ToolFailure(f"A workspace may hold at most {MAX_FILES} files.")
            await records.files.write(self._run_id, checked, content, self._clock())

    async def files(self) -> tuple[StoredFile, ...]:
        """Lists the files, ordered by path."""
        async with self._store.tenant(self._tenant_id) as records:
            return tuple(await records.files.list(self._run_id))


class RunResults:
    """Stored results of a run's tool calls; fulfils `Results`."""

    def __init__(self, store: Store, tenant_id: str, run_id: str) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._run_id = run_id

    async def read(self, step: int, call: int, offset: int, length: int) -> str:
        """Reads a part of a stored result.

        Args:
            step: The step, from 1.
            call: The call within the step, from 1; 0 for the model's reply.
            offset: Characters before the part.
            length: Characters at most.

        Raises:
            ToolFailure: Nothing is stored for this call.
        """
        async with self._store.tenant(self._tenant_id) as records:
            part = await records.results.read(self._run_id, step, call, offset, length)
        if part is None:
            raise ToolFailure(f"Step {step}, call {call} has no stored result; what you were shown is all of it.")
        return part
