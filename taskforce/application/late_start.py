"""Workflows whose start comes after the commit: started at once, or on the way to them, or later by a sweeper."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskforce.core.domain.errors import Missing, Unavailable

Outcome = TypeVar("Outcome")


async def start_or_leave(start: Callable[[], Awaitable[object]]) -> None:
    """Starts the workflow of something that is committed; when Temporal does not answer, a sweeper starts it later."""
    try:
        await start()
    except Unavailable:
        return


async def reach(act: Callable[[], Awaitable[Outcome]], begin: Callable[[], Awaitable[object]]) -> Outcome:
    """Reaches a workflow, starting it first if that has not happened yet.

    Args:
        act: What is done to it.
        begin: Starts it; raises why not, where it has ended.

    Raises:
        Missing: Its workflow was ended from outside.
        DomainError: What the two raise.
    """
    try:
        return await act()
    except Missing:
        await begin()
        return await act()
