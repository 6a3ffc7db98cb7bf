"""Start of workflows after the commit of their row: at once, before the next call, or later by a sweeper."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskforce.core.domain.errors import Missing, Unavailable

Outcome = TypeVar("Outcome")


async def start_or_leave(start: Callable[[], Awaitable[object]]) -> None:
    """Starts the workflow of a committed row; while Temporal does not answer, this is left to a sweeper."""
    try:
        await start()
    except Unavailable:
        return


async def reach(act: Callable[[], Awaitable[Outcome]], begin: Callable[[], Awaitable[object]]) -> Outcome:
    """Calls a workflow, starting it first if that has not happened yet.

    Args:
        act: The call.
        begin: Starts the workflow; raises an error where it has ended.

    Returns:
        The result of the call.

    Raises:
        Missing: The workflow was terminated from outside.
        DomainError: As `act` and `begin`.
    """
    try:
        return await act()
    except Missing:
        await begin()
        return await act()
