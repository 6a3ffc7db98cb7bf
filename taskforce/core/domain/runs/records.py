"""Records of runs: milestones, the filter of a list, and the result of an erasure."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.runs.run import RunStatus


@dataclass(frozen=True, slots=True)
class Event:
    """A durable milestone of a run. `seq` starts at 1, has no gaps and is the resume point of an event stream."""

    seq: int
    type: str
    data: Json
    at: datetime


@dataclass(frozen=True, slots=True)
class Erased:
    """Counts of what retention has erased.

    Attributes:
        runs: Runs, with their transcripts, results, files and events.
        requests: Requests for approval of these runs.
        sessions: Sessions that were left without a run.
    """

    runs: int
    requests: int
    sessions: int


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The filter of a list of runs; None does not filter."""

    status: RunStatus | None = None
    session_id: str | None = None
    agent_id: str | None = None
    user_id: str | None = None
