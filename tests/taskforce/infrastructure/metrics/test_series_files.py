"""Processes that share a directory tell the same numbers, whoever is asked and whoever dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskforce.infrastructure.config.settings import REPOSITORY
from taskforce.infrastructure.metrics.exposition import render
from taskforce.infrastructure.metrics.families import Family
from taskforce.infrastructure.metrics.series_files import SharedSeries

COUNTED = Family("counted_total", "Counts.", labels=("who",))
OPEN = Family("open", "Open ones.", "gauge", ("who",))
LOOKED = Family("looked", "A look.", "gauge", (), lasts=60.0)
TOOK = Family("took_seconds", "Durations.", "histogram", (), (1.0, 2.0))
PROCESS = """
import sys
from pathlib import Path
from taskforce.infrastructure.metrics.exposition import render
from taskforce.infrastructure.metrics.series_files import SharedSeries
from tests.taskforce.infrastructure.metrics.test_series_files import COUNTED, LOOKED, OPEN, TOOK

series = SharedSeries(Path(sys.argv[1]))
for line in sys.stdin:
    for _ in range(int(line)):
        series.store.add(COUNTED, ("all",))
        series.store.add(COUNTED, (sys.argv[2],))
        series.store.observe(TOOK, (), 1.5)
    series.store.set(OPEN, ("all",), 1)
    series.store.set(LOOKED, (), int(line))
    text = render(series.numbered())
    print(len(text.splitlines()), flush=True)
    print(text, end="", flush=True)
"""


class Counting:
    """A process that counts as often as it is told, and then says what it would show."""

    def __init__(self, directory: Path, name: str) -> None:
        command = [sys.executable, "-c", PROCESS, str(directory), name]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True)

    def count(self, times: int) -> list[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        return [self.process.stdout.readline() for _ in range(int(self.process.stdout.readline()))]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def total(text: list[str]) -> float:
    (line,) = [one for one in text if one.startswith('counted_total{who="all"}')]
    return float(line.rpartition(" ")[2])


def test_four_processes_tell_the_same_and_no_counter_goes_back_when_they_are_killed(tmp_path: Path) -> None:
    four = [Counting(tmp_path, f"p{number}") for number in range(4)]
    try:
        for number, one in enumerate(four):
            one.count(10 * (number + 1))
        told = [one.count(0) for one in four]
        assert told[0] == told[1] == told[2] == told[3]
        assert total(told[0]) == 100
        assert 'open{who="all"} 4.0\n' in told[0]
        four[0].kill()
        # Its counters stay; what it had open is gone with it.
        told = [one.count(0) for one in four[1:]]
        assert total(told[0]) == 100
        assert 'open{who="all"} 3.0\n' in told[0]
        successor = Counting(tmp_path, "p0")
        four[0] = successor
        assert total(successor.count(5)) == 105
        assert 'counted_total{who="p0"} 15.0\n' in successor.count(0)
        assert "took_seconds_count 105\n" in four[3].count(0)
        # The files of the one that ended were taken over.
        assert len(list(tmp_path.glob("*.numbers"))) == 4
    finally:
        for one in four:
            one.kill()


def test_of_a_look_that_one_process_has_at_all_the_newest_counts_and_old_ones_vanish(tmp_path: Path) -> None:
    one, other = SharedSeries(tmp_path), SharedSeries(tmp_path)
    one.store.set(LOOKED, (), 7)
    other.store.set(LOOKED, (), 3)
    assert "looked 3.0" in render(one.numbered())
    assert render(one.numbered(), now=2e9 + 1e9) == ""


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        SharedSeries(tmp_path / "file")
