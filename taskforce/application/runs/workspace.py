"""What a run lends its tools: its files and its stored results. Both are rows, so no path can lead out."""

import re

from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Store
from taskforce.core.interfaces.tools import StoredFile, ToolFailure

MAX_FILE_BYTES = 5_000_000
MAX_FILES = 200
_NAME = r"[^\x00-\x1f/\\\ud800-\udfff]{1,100}"
_PATH = re.compile(rf"{_NAME}(/{_NAME}){{0,5}}")


def checked_path(path: str) -> str:
    """Accepts a plain relative path.

    Raises:
        ToolFailure: The path is absolute, leads upwards, or is too long.
    """
    parts = path.split("/")
    if not _PATH.fullmatch(path) or any(part in {".", ".."} or part.strip() != part for part in parts):
        raise ToolFailure(f"{path[:80]!r} is not a path here; use a relative path such as notes.txt or drafts/one.md.")
    return path


class RunWorkspace:
    """See `Workspace`."""

    def __init__(self, store: Store, tenant_id: str, run_id: str, clock: Clock) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._run_id = run_id
        self._clock = clock

    async def read(self, path: str) -> bytes:
        """Returns a file's content."""
        async with self._store.tenant(self._tenant_id) as records:
            content = await records.files.read(self._run_id, checked_path(path))
        if content is None:
            raise ToolFailure(f"There is no file {path!r} in this run's workspace.")
        return content

    async def write(self, path: str, content: bytes) -> None:
        """Creates or replaces a file."""
        checked = checked_path(path)
        if len(content) > MAX_FILE_BYTES:
            raise ToolFailure(f"A file may have at most {MAX_FILE_BYTES} bytes; this has {len(content)}.")
        async with self._store.tenant(self._tenant_id) as records:
            stored = {file.path for file in await records.files.list(self._run_id)}
            if len(stored | {checked}) > MAX_FILES:
                raise ToolFailure(f"A workspace may hold at most {MAX_FILES} files.")
            await records.files.write(self._run_id, checked, content, self._clock())

    async def files(self) -> tuple[StoredFile, ...]:
        """Returns the files, ordered by path."""
        async with self._store.tenant(self._tenant_id) as records:
            return tuple(await records.files.list(self._run_id))


class RunResults:
    """See `Results`."""

    def __init__(self, store: Store, tenant_id: str, run_id: str) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._run_id = run_id

    async def read(self, step: int, call: int, offset: int, length: int) -> str:
        """Returns a part of a stored result."""
        async with self._store.tenant(self._tenant_id) as records:
            part = await records.results.read(self._run_id, step, call, offset, length)
        if part is None:
            raise ToolFailure(f"Step {step}, call {call} has no stored result; what you were shown is all of it.")
        return part
