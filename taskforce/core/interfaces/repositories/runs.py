"""The repositories of runs and their parts, within one transaction of one tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.metering.usage import StepUsage, UsageEntry
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.model_retry import ModelRetry
from taskforce.core.domain.runs.questions import Question
from taskforce.core.domain.runs.records import Erased, Event, RunFilter
from taskforce.core.domain.runs.run import Ending, Limits, Run, RunSpec, RunStatus, Totals
from taskforce.core.domain.runs.transcript import Entry, Exchange
from taskforce.core.interfaces.tools import StoredFile


class Runs(Protocol):
    """The repository of runs and their totals."""

    async def add(self, spec: RunSpec) -> bool:
        """Adds a run; adds its session, and returns True, if it is new."""
        ...

    async def get(self, run_id: str) -> Run | None:
        """Returns a run; None without one."""
        ...

    async def spec(self, run_id: str) -> RunSpec | None:
        """Returns the specification of a run; None without one."""
        ...

    async def page(self, which: RunFilter, page: Page) -> Sequence[Run]:
        """Returns a page of runs, newest first, with excerpts of their answers; see `Run.answer`."""
        ...

    async def exchanges(self, spec: RunSpec, most: int) -> tuple[Exchange, ...]:
        """Returns the latest finished runs of the session before this run, oldest first."""
        ...

    async def session_owner(self, session_id: str) -> str | None:
        """Returns the user id of a session's owner; None without such a session."""
        ...

    async def open_runs(self) -> int:
        """Returns the number of open runs, and locks it for this transaction."""
        ...

    async def open_of_agent(self, agent_id: str) -> int:
        """Returns the number of open runs of a catalog agent."""
        ...

    async def open_of_version(self, version_id: str, most: int) -> Sequence[str]:
        """Returns the ids of open runs that are pinned to a version, oldest first."""
        ...

    async def to_cancel(self, version_id: str, now: datetime) -> Sequence[str]:
        """Marks the open runs of a version for cancellation; returns their ids, oldest first."""
        ...

    async def cancel(self, run_id: str, now: datetime) -> None:
        """Marks an open run for cancellation; the first mark stays."""
        ...

    async def locked(self, run_id: str) -> Run | None:
        """Returns a run and locks it for this transaction."""
        ...

    async def set_limits(self, run_id: str, limits: Limits) -> None:
        """Replaces a run's limits."""
        ...

    async def begin(self, run_id: str, milestone: str, now: datetime) -> None:
        """Marks a queued run as running and appends its milestone; a run in any other status is left unchanged."""
        ...

    async def set_status(
        self,
        run_id: str,
        status: RunStatus,
        waiting_for: str | None,
        questions: Sequence[Question] = (),
        retry: ModelRetry | None = None,
    ) -> bool:
        """Updates status and wait of an open run; False when nothing changed."""
        ...

    async def total(self, run_id: str) -> Totals | None:
        """Adds up the usage records into the run's totals, and returns these; None where the run is gone."""
        ...

    async def close(self, run_id: str, ending: Ending, answer: str | None, now: datetime) -> Totals | None:
        """Closes an open run and adds up its usage records.

        Args:
            run_id: The run.
            ending: Final status with reason or error.
            answer: The answer; None without one.
            now: Time of the end, UTC.

        Returns:
            The totals; None when it is closed already.
        """
        ...

    async def close_by_reply(
        self, run_id: str, ending: Ending, answer: str, now: datetime, *, messages: int | None
    ) -> Totals | None:
        """Closes an open run with a reply of its model, unless its cancellation was requested.

        Args:
            run_id: The run.
            ending: Final status with reason.
            answer: The reply.
            now: Time of the end, UTC.
            messages: Closes it only if the number of people's messages is this; None does not check.

        Returns:
            The totals; None when it is closed already, is to be cancelled, or has another number of messages.
        """
        ...

    async def erase(self, ended_before: datetime, most: int) -> Erased:
        """Erases ended runs, oldest first, with all of their parts but usage records.

        Args:
            ended_before: Runs that ended before this time are erased, unless one of their requests is open, or the
                tenant's setting keeps them longer.
            most: Runs at most.

        Returns:
            Counts of what was erased; zeros while another process erases.
        """
        ...


class Transcripts(Protocol):
    """The repository of the append-only transcript."""

    async def latest(self, run_id: str, from_step: int, most: int) -> Sequence[Entry]:
        """Returns the mission and the latest entries from a step on, in order."""
        ...

    async def range(self, run_id: str, after_step: int, most_steps: int) -> Sequence[Entry]:
        """Returns the entries of the steps after one, in order."""
        ...

    async def entry(self, run_id: str, step: int, call: int) -> Entry | None:
        """Returns an entry by its key; None without one."""
        ...

    async def last_reply(self, run_id: str) -> Entry | None:
        """Returns the model's latest reply with text; None without one."""
        ...

    async def last_plan(self, run_id: str) -> Entry | None:
        """Returns the latest observation of a plan that was written (`todo_write`); None without one."""
        ...

    async def heard(self, run_id: str, message_id: str) -> bool:
        """Tells whether the transcript holds a message, as a message or as an answer to a question."""
        ...

    async def words_before(self, run_id: str, step: int, word_ids: Sequence[str]) -> frozenset[str]:
        """Returns, of messages, the ids of those that the transcript holds before a step, heard or as answers."""
        ...

    async def append(self, run_id: str, entry: Entry) -> Entry:
        """Appends an entry, at the latest at commit; returns it as it will be read.

        Raises:
            DuplicateKey: An entry of that key exists and stays as it is; raised here, by a later statement, or at
                commit.
        """
        ...


@dataclass(frozen=True, slots=True)
class UntoldMessage:
    """A message of which its run may not have been told.

    Attributes:
        run_id: The run.
        question: The id of the question that it answers, if it answers one.
    """

    run_id: str
    question: str | None


class Messages(Protocol):
    """The repository of people's messages to a run, before they enter the transcript."""

    async def add(
        self, run_id: str, message_id: str, author_id: str, text: str, now: datetime, *, question: str | None = None
    ) -> None:
        """Adds a message, with the id of the question that it answers, if any."""
        ...

    async def untold(self, message_id: str) -> UntoldMessage | None:
        """Returns a message of which its run may not have been told; None where it was told."""
        ...

    async def told(self, message_id: str, now: datetime) -> None:
        """Marks a message as one of which its run was told."""
        ...

    async def unheard(self, run_id: str, most: int) -> Sequence[str]:
        """Returns the ids of stored messages that the transcript does not hold, oldest first."""
        ...

    async def answers(self, run_id: str) -> Mapping[str, str]:
        """Returns the ids of messages that answer a question, by the question's id."""
        ...

    async def get(self, run_id: str, message_ids: Sequence[str]) -> Sequence[tuple[str, str, str]]:
        """Returns (id, author id, text) of messages, in the order of their ids given."""
        ...

    async def unnamed(self, run_id: str, message_ids: Sequence[str], since: datetime | None) -> Sequence[str]:
        """Lists those of the messages that name no question and were sent after a time, in the order given."""
        ...


class Effects(Protocol):
    """The repository of marks of effects that must not happen twice."""

    async def begin(self, run_id: str, step: int, call: int, tool: str, now: datetime) -> bool:
        """Marks the start of a call; False when it was marked before."""
        ...

    async def unsettled(self, run_id: str) -> Sequence[tuple[int, int]]:
        """Returns (step, call) of the run's calls that were begun and have no observation, in their order."""
        ...


class WholeResults(Protocol):
    """The repository of results that are too large for the transcript."""

    async def add(self, run_id: str, step: int, call: int, content: str) -> None:
        """Adds a whole result; one that exists is left unchanged."""
        ...

    async def read(self, run_id: str, step: int, call: int, offset: int, length: int) -> str | None:
        """Returns characters `offset` to `offset + length` of a result; None without one."""
        ...


class Files(Protocol):
    """The repository of files of runs' workspaces."""

    async def read(self, run_id: str, path: str) -> bytes | None:
        """Returns a file's content; None without one."""
        ...

    async def write(self, run_id: str, path: str, content: bytes, now: datetime) -> None:
        """Adds or replaces a file."""
        ...

    async def list(self, run_id: str) -> Sequence[StoredFile]:
        """Returns the files without their content, by path."""
        ...


class Events(Protocol):
    """The repository of durable milestones."""

    async def append(self, run_id: str, kind: str, data: Json, now: datetime, *, step: int = 0) -> None:
        """Appends a milestone; a step other than 0 updates the run's number of steps."""
        ...

    async def after(self, run_id: str, seq: int, most: int) -> Sequence[Event]:
        """Returns milestones after a number, in order."""
        ...


class Usage(Protocol):
    """The repository of usage records, unique by their keys."""

    async def add(self, spending: UsageEntry) -> None:
        """Adds a usage record; one that exists is left unchanged."""
        ...

    async def of_steps(self, run_id: str, first: int, last: int) -> Sequence[StepUsage]:
        """Returns the model's use in each of the steps; steps without use are left out."""
        ...
