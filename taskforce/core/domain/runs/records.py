"""What is stored about runs: events, the filter of a list, and what an erasure removed."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.runs.run import RunStatus


@dataclass(frozen=True, slots=True)
class Event:
    """One durable milestone of a run. `seq` starts at 1, has no gaps and is the resume point of a stream."""

    seq: int
    type: str
    data: Json
    at: datetime


@dataclass(frozen=True, slots=True)
class Erased:
    """How much retention has erased: runs with all that hung on them, and what was left empty.

    Attributes:
        runs: Runs.
        requests: Their requests for approval.
        sessions: Sessions of which no run is left.
    """

    runs: int
    requests: int
    sessions: int


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; None does not filter."""

    status: RunStatus | None = None
    session_id: str | None = None
    agent_id: str | None = None
    user_id: str | None = None
