"""What the use cases ask of storage about runs and what hangs on them, within one transaction of one tenant."""

from collections.abc import Mapping, Sequence
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
    """Runs and what they have used."""

    async def add(self, brief: RunSpec) -> None:
        """Commits what was asked for; makes the session if it is new."""
        ...

    async def get(self, run_id: str) -> Run | None:
        """The run, if the tenant has it."""
        ...

    async def brief(self, run_id: str) -> RunSpec | None:
        """What the run is about."""
        ...

    async def page(self, which: RunFilter, page: Page) -> Sequence[Run]:
        """A page of runs, newest first, with excerpts of their answers; see `Run.answer`."""
        ...

    async def exchanges(self, brief: RunSpec, most: int) -> tuple[Exchange, ...]:
        """The latest finished runs of the session before this one, oldest first."""
        ...

    async def session_owner(self, session_id: str) -> str | None:
        """Whose session it is; None when there is no such session yet."""
        ...

    async def open_runs(self) -> int:
        """How many runs are open; who asks the same waits until this transaction ends."""
        ...

    async def open_of_agent(self, agent_id: str) -> int:
        """How many open runs an agent of the catalog has."""
        ...

    async def open_of_version(self, version_id: str, most: int) -> Sequence[str]:
        """The ids of open runs that are pinned to a version, oldest first."""
        ...

    async def to_cancel(self, version_id: str, now: datetime) -> Sequence[str]:
        """Notes that the open runs of a version shall be cancelled; returns their ids, oldest first."""
        ...

    async def locked(self, run_id: str) -> Run | None:
        """The run, which nobody else changes before this transaction ends."""
        ...

    async def set_limits(self, run_id: str, limits: Limits) -> None:
        """Changes what a run may use."""
        ...

    async def begin(self, run_id: str, milestone: str, now: datetime) -> None:
        """Marks a run that has not begun as running, and tells it; what has begun, or ended, stays as it is."""
        ...

    async def set_status(
        self,
        run_id: str,
        status: RunStatus,
        waiting_for: str | None,
        questions: Sequence[Question] = (),
        retry: ModelRetry | None = None,
    ) -> bool:
        """Changes the status of an open run, and what it waits for; False when nothing changed."""
        ...

    async def total(self, run_id: str) -> None:
        """Adds up the usage records into the run's row."""
        ...

    async def close(
        self, run_id: str, ending: Ending, answer: str | None, now: datetime, *, words: int | None = None
    ) -> Totals | None:
        """Ends an open run and adds up its usage records.

        Args:
            run_id: The run.
            ending: How it ends.
            answer: What it says.
            now: When.
            words: Ends it only if people have added so many words to it.

        Returns:
            What it used; None when it had already ended, or has other words.
        """
        ...

    async def erase(self, ended_before: datetime, most: int) -> Erased:
        """Erases runs with all that hangs on them but usage, those that ended first before others.

        Args:
            ended_before: Runs that ended before are erased, unless one of their requests is open, or the tenant's own
                setting keeps them.
            most: Runs at most.

        Returns:
            How much that was; nothing while another process is at it.
        """
        ...


class Transcripts(Protocol):
    """The append-only transcript."""

    async def latest(self, run_id: str, from_step: int, most: int) -> Sequence[Entry]:
        """The mission and the latest entries from a step on, in order."""
        ...

    async def range(self, run_id: str, after_step: int, most_steps: int) -> Sequence[Entry]:
        """The entries of the steps after one, in order."""
        ...

    async def entry(self, run_id: str, step: int, call: int) -> Entry | None:
        """One entry by its key."""
        ...

    async def last_reply(self, run_id: str) -> Entry | None:
        """The model's latest reply that says anything."""
        ...

    async def last_of_tool(self, run_id: str, tool: str) -> Entry | None:
        """The latest observation of a tool's call that succeeded."""
        ...

    async def heard(self, run_id: str, author_id: str, text: str) -> bool:
        """Whether the model has heard this word of this person."""
        ...

    async def append(self, run_id: str, entry: Entry) -> Entry:
        """Appends an entry, at the latest when the transaction ends; returns it as it will be read.

        Raises:
            AlreadyThere: There is an entry of that key, which stays as it is; raised here, by what comes after, or at
                the end of the transaction.
        """
        ...


class Words(Protocol):
    """What people add to a run while it works, before the model hears it."""

    async def add(
        self, run_id: str, word_id: str, author_id: str, text: str, now: datetime, question: str | None = None
    ) -> None:
        """Keeps a word until the model hears it, or the tool whose question it answers."""
        ...

    async def answers(self, run_id: str) -> Mapping[str, str]:
        """The words that answer a question, by the question's id."""
        ...

    async def get(self, run_id: str, word_ids: Sequence[str]) -> Sequence[tuple[str, str]]:
        """(author, text) in the order asked."""
        ...

    async def unnamed(self, run_id: str, word_ids: Sequence[str], since: datetime | None) -> Sequence[str]:
        """Those of the words that name no question and were not said before a time, in the order asked."""
        ...


class Effects(Protocol):
    """Marks of effects that must not happen twice."""

    async def begin(self, run_id: str, step: int, call: int, tool: str, now: datetime) -> bool:
        """Marks the start; False when it was marked before."""
        ...


class WholeResults(Protocol):
    """Results too large to show."""

    async def add(self, run_id: str, step: int, call: int, content: str) -> None:
        """Stores a result as a whole, once."""
        ...

    async def read(self, run_id: str, step: int, call: int, offset: int, length: int) -> str | None:
        """Characters `offset` to `offset + length`; None when there is no such result."""
        ...


class Files(Protocol):
    """The workspaces."""

    async def read(self, run_id: str, path: str) -> bytes | None:
        """A file's content; None when there is none."""
        ...

    async def write(self, run_id: str, path: str, content: bytes, now: datetime) -> None:
        """Creates or replaces a file."""
        ...

    async def list(self, run_id: str) -> Sequence[StoredFile]:
        """The files without their content, ordered by path."""
        ...


class Events(Protocol):
    """Durable milestones."""

    async def append(self, run_id: str, kind: str, data: Json, now: datetime, *, step: int = 0) -> None:
        """Appends a milestone; with a step the run's row tells that it has come so far."""
        ...

    async def after(self, run_id: str, seq: int, most: int) -> Sequence[Event]:
        """Milestones after a number, in order."""
        ...


class Usage(Protocol):
    """Usage records, each kept once."""

    async def add(self, spending: UsageEntry) -> None:
        """Records what an effect used; a record that exists is left as it is."""
        ...

    async def of_steps(self, run_id: str, first: int, last: int) -> Sequence[StepUsage]:
        """What the model used in each of the steps, those without use left out."""
        ...
