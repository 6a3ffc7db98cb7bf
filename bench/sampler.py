"""Sampling profiler of a worker's CPU time, by thread and part of the code.

A thread looks every few milliseconds, and charges the CPU time that each Python thread has used since the last look (by
the thread's own CPU clock) to the innermost frame of its stack that belongs to one of the parts below. What the process
used and no Python thread did is native code: the core of the Temporal SDK. Threads hand over the interpreter at once
when asked, for else the looks would fall on the places that give it up by themselves, which are those that send and
receive. Linux only, as CPU clocks of threads are.
"""

import gc
import json
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

EVERY_SECONDS = 0.003
HAND_OVER_SECONDS = 0.00002
WRITE_SECONDS = 0.5
NATIVE = "SDK, native core"
SDK = "SDK, Python"
LITELLM = "LiteLLM and HTTP client"
SQL = "SQL client"
OURS = "ours"
LOOP = "event loop and threads"

_REPOSITORY = str(Path(__file__).parents[1])
_STDLIB = str(Path(os.__file__).parent)
_LOOPS = (f"{_STDLIB}/asyncio/base_events.py", f"{_STDLIB}/threading.py", f"{_STDLIB}/asyncio/runners.py")
_PACKAGES = {
    "asyncpg": SQL,
    "sqlalchemy": SQL,
    "temporalio": SDK,
    "litellm": LITELLM,
    "openai": LITELLM,
    "httpx": LITELLM,
    "httpcore": LITELLM,
    "h11": LITELLM,
    "anyio": LITELLM,
    "aiohttp": LITELLM,
}


class Sampler:
    """Samples this process and keeps its findings, in seconds, in a file.

    Args:
        path: The file, JSON: seconds by part, and by part and place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: defaultdict[str, float] = defaultdict(float)
        self._places: defaultdict[str, float] = defaultdict(float)
        self._clocks: dict[int, float] = {}
        self._python_seconds = 0.0

    def start(self) -> None:
        """Starts sampling, which ends with the process."""
        sys.setswitchinterval(HAND_OVER_SECONDS)
        threading.Thread(target=self._work, name="sampler", daemon=True).start()

    def _work(self) -> None:
        due = 0.0
        while True:
            time.sleep(EVERY_SECONDS)
            self._look(threading.get_ident())
            if time.monotonic() >= due:
                due = time.monotonic() + WRITE_SECONDS
                self._write()

    def _look(self, own: int) -> None:
        for ident, frame in _frames().items():
            used = self._used(ident)
            self._python_seconds += used
            if used and ident != own:
                part, place = _part_of(frame)
                self._parts[part] += used
                self._places[f"{part}: {place}"] += used

    def _used(self, ident: int) -> float:
        try:
            now = time.clock_gettime(time.pthread_getcpuclockid(ident))
        except OSError:  # the thread has ended
            return 0.0
        # A thread counts from its first look on: what it used before has no place to be charged to.
        used = now - self._clocks.get(ident, now)
        self._clocks[ident] = now
        return used

    def _write(self) -> None:
        native = max(0.0, time.process_time() - self._python_seconds)
        found = {"parts": {**self._parts, NATIVE: native}, "places": dict(self._places)}
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps(found))
        draft.replace(self._path)


def _frames() -> dict[int, FrameType]:
    # A collection in the middle of it runs finalizers while the interpreter's list of threads is locked: a thread that
    # comes or goes just then waits for ever, and all others with it (Python's issue 106883, not mended in 3.11).
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001 - the only way there is
    finally:
        if collects:
            gc.enable()


def _part_of(frame: FrameType | None) -> tuple[str, str]:
    while frame is not None:
        file = frame.f_code.co_filename
        if file in _LOOPS:
            break
        part = _known(file)
        if part is not None:
            return part, f"{Path(file).name} {frame.f_code.co_qualname}"
        frame = frame.f_back
    return LOOP, ""


def _known(file: str) -> str | None:
    _, installed, rest = file.rpartition("/site-packages/")
    if installed:
        return _PACKAGES.get(rest.partition("/")[0])
    return OURS if file.startswith(_REPOSITORY) and "/bench/" not in file else None
