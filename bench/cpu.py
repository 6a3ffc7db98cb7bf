"""CPU time and memory of processes."""

import os
from collections.abc import Mapping

import psutil


class CpuMeter:
    """Reads the CPU time of processes, their children included.

    Args:
        processes: Process ids by name.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}

    def read(self) -> dict[str, float]:
        """Returns the CPU seconds used so far, by name."""
        return {name: _seconds(process) for name, process in self._processes.items()}

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Returns the CPU seconds used since an earlier reading, by name."""
        return {name: max(0.0, seconds - before[name]) for name, seconds in self.read().items()}


def resident_mb(pid: int) -> float:
    """Returns the resident memory of a process, in MB.

    Args:
        pid: The id of the process.
    """
    return float(psutil.Process(pid).memory_info().rss) / 1_048_576


def _seconds(process: psutil.Process) -> float:
    total = 0.0
    # The caller has started all others: its children are counted by their own names.
    children = [] if process.pid == os.getpid() else process.children(recursive=True)
    for one in [process, *children]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
