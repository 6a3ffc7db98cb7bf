"""Outcomes of tool calls that end while the database is away."""

from datetime import timedelta
from typing import Final

from taskforce.core.domain.errors import Unavailable

OUTCOME_LOST: Final = "outcome_lost"
"""The error code of a tool call that has ended and whose outcome the database has not taken."""
OUTCOME_PATIENCE: Final = timedelta(minutes=10)
"""Time in which the outcome of a tool call is stored while the database is away; no time of the run's work."""


def outcome_lost(away: Unavailable) -> Unavailable:
    """Builds the error of an outcome that could not be stored.

    Args:
        away: The failure of the last try.
    """
    return Unavailable(OUTCOME_LOST, f"The tool has ended, and its outcome could not be stored: {away.message}")
