"""Leadership of sweeps: of all workers one does a sweep, and another takes over when it ends or dies."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from taskforce.core.interfaces.sweep_leases import SweepLeases

LEASE = timedelta(seconds=15)
"""The time after which another worker takes over the sweeps of one that died."""
RENEWALS = 3
"""Renewals within a lease: one that fails, or comes late, does not lose it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Work that one worker repeats.

    Attributes:
        every_seconds: Seconds between the end of one call and the next one.
        work: The work. It may be cut off at any await, and for a moment two workers may do it side by side, when its
            holder did not get to renew the lease: it must be safe to repeat.
    """

    every_seconds: float
    work: Callable[[], Awaitable[object]]


class SweepLeader:
    """Repeats those sweeps whose lease this process holds.

    One statement for each third of a lease renews all of them, or finds that another process has them.

    Args:
        leases: The leases.
        holder: This process; a name that no other process has.
        lease: The time after which another process takes over from one that died.
    """

    def __init__(self, leases: SweepLeases, holder: str, lease: timedelta = LEASE) -> None:
        self._leases = leases
        self._holder = holder
        self._lease = lease
        self._pause = lease.total_seconds() / RENEWALS
        self._held: frozenset[str] = frozenset()
        self._until = 0.0

    async def lead(self, sweeps: Mapping[str, Sweep]) -> None:
        """Repeats sweeps while their lease is held, until it is cancelled; then it releases the leases.

        Args:
            sweeps: The sweeps by name; the name is that of the lease.
        """
        running: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                held = await self._renewed(sweeps)
                # Not awaited: a sweep that takes long to end must not hold up the renewal of the others' leases.
                for name in running.keys() - held:
                    _cancel_once(running[name])
                for name in sorted(held):
                    if name not in running or running[name].done():
                        running[name] = asyncio.create_task(_repeat(name, sweeps[name]))
                await asyncio.sleep(self._pause)
        finally:
            for task in running.values():
                _cancel_once(task)
            await asyncio.gather(*running.values(), return_exceptions=True)
            await self._release()

    async def _renewed(self, sweeps: Mapping[str, Sweep]) -> frozenset[str]:
        now = asyncio.get_running_loop().time()
        try:
            # A renewal that takes longer than the pause could end after the lease.
            async with asyncio.timeout(self._pause):
                self._held = await self._leases.hold_sweeps(sweeps.keys(), self._holder, self._lease)
                self._until = now + self._lease.total_seconds()
        except Exception as error:  # noqa: BLE001 - PostgreSQL may answer again before the lease is over
            _log.warning("sweeps.not_renewed", error=type(error).__name__, detail=str(error)[:300])
            if now + self._pause >= self._until:
                self._held = frozenset()
        return self._held

    async def _release(self) -> None:
        # Best effort: a lease that is not released expires.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._pause):
                await self._leases.release_sweeps(self._holder)


async def _repeat(name: str, sweep: Sweep) -> None:
    while True:
        try:
            await sweep.work()
        except Exception as error:  # noqa: BLE001 - an error of one sweep must not end the sweeper
            _log.warning("sweep.failed", sweep=name, error=type(error).__name__, detail=str(error)[:300])
        await asyncio.sleep(sweep.every_seconds)


def _cancel_once(task: asyncio.Task[None]) -> None:
    # A second cancellation would break off how the task ends after the first one.
    if not task.cancelling():
        task.cancel()
