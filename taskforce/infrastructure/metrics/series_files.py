"""Series that several processes of one machine share, so that each of them tells the numbers of all.

Each process counts in a file of its own, which outlives it. Whoever is asked adds up the files. The first to come after
a process has ended takes over its counters, so that no counter ever goes back and files do not pile up.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from taskforce.core.domain.ids import new_id
from taskforce.infrastructure.metrics.families import Family
from taskforce.infrastructure.metrics.file_numbers import FileNumbers, is_alive, read_numbers
from taskforce.infrastructure.metrics.series import Labels, Limits, Numbered, SeriesStore

_NUMBERS, _NAMES, _LOCK = ".numbers", ".names", "lock"


class SharedSeries:
    """The series of all processes that share a directory.

    Args:
        directory: The directory, on this machine's own disk; it is made if need be.
        limits: The bounds of labels of each process.

    Attributes:
        store: What this process counts in.
    """

    def __init__(self, directory: Path, limits: Limits | None = None) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._peers: dict[Path, _Peer] = {}
        self._name = new_id()
        with self._locked(fcntl.LOCK_EX):
            numbers = FileNumbers(directory / f"{self._name}{_NUMBERS}")
            self._names = os.open(directory / f"{self._name}{_NAMES}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._written: set[str] = set()
            self.store = SeriesStore(numbers, limits, self._note)
            for path in self._others():
                if not is_alive(path):
                    self.store.merge(_Peer(path).numbered())
                    path.unlink()
                    path.with_suffix(_NAMES).unlink()

    def numbered(self) -> Numbered:
        """Returns the numbers of the series of all processes together."""
        with self._locked(fcntl.LOCK_SH):
            paths = self._others()
            self._peers = {path: self._peers.get(path) or _Peer(path) for path in paths}
            return _together([self.store.numbered(), *(self._peers[path].numbered() for path in paths)])

    def _others(self) -> list[Path]:
        return [path for path in sorted(self._directory.glob(f"*{_NUMBERS}")) if path.stem != self._name]

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)

    def _note(self, family: Family, labels: Labels, place: int) -> None:
        line: dict[str, object] = {"name": family.name, "labels": labels, "place": place}
        if family.name not in self._written:
            self._written.add(family.name)
            line["family"] = asdict(family)
        # In one write, and before anything is counted there.
        os.write(self._names, f"{json.dumps(line)}\n".encode())


class _Peer:
    """The file of another process, whose new names are read each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = read_numbers(path)
        self._read = 0
        self._families: dict[str, Family] = {}
        self._places: list[tuple[Family, Labels, int]] = []

    def numbered(self) -> Numbered:
        self._read_names()
        alive = is_alive(self._path)
        found: dict[Family, dict[Labels, Sequence[float]]] = {}
        for family, labels, place in self._places:
            # What a gauge tells of ends with its process.
            if alive or family.kind != "gauge":
                found.setdefault(family, {})[labels] = list(self._numbers[place : place + family.size])
        return found

    def _read_names(self) -> None:
        with self._path.with_suffix(_NAMES).open("rb") as file:
            file.seek(self._read)
            whole, _, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            said = json.loads(line)
            if "family" in said:
                known = said["family"]
                lists = {name: tuple(known[name]) for name in ("labels", "bounds")}
                self._families[said["name"]] = Family(**{**known, **lists})
            self._places.append((self._families[said["name"]], tuple(said["labels"]), said["place"]))


def _together(parts: Sequence[Numbered]) -> Numbered:
    found: dict[Family, dict[Labels, Sequence[float]]] = {}
    for part in parts:
        for family, members in part.items():
            together = found.setdefault(family, {})
            for labels, numbers in members.items():
                before = together.get(labels)
                together[labels] = numbers if before is None else _sum(family, before, numbers)
    return found


def _sum(family: Family, one: Sequence[float], other: Sequence[float]) -> Sequence[float]:
    if family.kind != "gauge":
        return [a + b for a, b in zip(one, other, strict=True)]
    if family.lasts is not None:
        # Of one fact that one process looks at: the newest look.
        return max(one, other, key=lambda numbers: numbers[1])
    return [one[0] + other[0], max(one[1], other[1])]
