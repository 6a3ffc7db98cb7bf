"""What a run waits for between begin and end: told in its row, its search attributes and to whoever asks."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow

from workflows.runtime.activity_calls import run_local
from workflows.runtime.markdown import escaped
from workflows.runtime.search_attributes import STATUS, WAITING_FOR, value

with workflow.unsafe.imports_passed_through():
    from models.messages.frame import RunRef
    from models.messages.runs import RetryNote, RunNote
    from taskforce.core.domain.runs.questions import OpenQuestions

PAUSE = "pause"
MODEL = "the model"
# 2026-11: runs that began without the status attribute set it only for what Temporal's own status does not tell.
SAYS_MORE = frozenset({"waiting", "paused", "incomplete"})

_Open = Literal["running", "waiting", "paused"]


class RunWaits:
    """Where a run stands, and how long it has waited for people.

    Args:
        ref: The run.
        changed: Called when something has changed, before it is told elsewhere.

    Attributes:
        status: As the run's row says it.
        waiting_for: What it waits for, for people.
        questions: What it waits for a person to answer.
        retry: The next try of a model call that failed.
    """

    def __init__(self, ref: RunRef, changed: Callable[[], None]) -> None:
        self.status: str = "running"
        self.waiting_for: str | None = None
        self.questions = OpenQuestions()
        self.retry: RetryNote | None = None
        self._ref = ref
        self._changed = changed
        self._holds: list[str] = []
        self._held_since = workflow.now()
        self._held = timedelta()
        self._noted: tuple[object, ...] = ("running", None, (), None)
        self._noting = asyncio.Lock()
        begun_with = workflow.info().typed_search_attributes
        self._marks_always = begun_with.get(STATUS) is not None
        self._marked: tuple[str | None, str | None] = (None, begun_with.get(WAITING_FOR))

    def held(self) -> timedelta:
        """How long people have had the word: that is not time in which the run works."""
        return self._held + (workflow.now() - self._held_since if self._holds else timedelta())

    async def hold(self, what: str) -> None:
        """Begins to wait for people."""
        if not self._holds:
            self._held_since = workflow.now()
        self._holds.append(what)
        await self._note()

    async def release(self, what: str) -> None:
        """Ends such a wait."""
        self._holds.remove(what)
        if not self._holds:
            self._held += workflow.now() - self._held_since
        await self._note()

    async def try_again(self, retry: RetryNote | None, *, silent: bool = False) -> None:
        """Waits for the next try of a model call, or no more.

        Args:
            retry: The next try; None when the model has replied.
            silent: The run has ended, so that its row needs no note.
        """
        if retry != self.retry:
            self.retry = retry
            await self._note(silent=silent)

    def end(self, status: str) -> None:
        """The run waits for nothing any more."""
        self.status, self.waiting_for, self.retry = status, None, None

    def mark(self, status: str, waiting_for: str | None) -> None:
        """Sets the search attributes."""
        said = status if self._marks_always or status in SAYS_MORE else None
        if self._marks_always or (said, waiting_for) != self._marked:
            self._marked = (said, waiting_for)
            workflow.upsert_search_attributes([value(STATUS, said), value(WAITING_FOR, waiting_for)])

    def __str__(self) -> str:
        waiting = f", waiting for {escaped(self.waiting_for)}" if self.waiting_for else ""
        if self.retry is not None:
            waiting += f" ({escaped(self.retry.code)}), attempt {self.retry.attempt} at {self.retry.at:%H:%M:%S} UTC"
        return f"**{self.status}**{waiting}"

    async def _note(self, *, silent: bool = False) -> None:
        async with self._noting:
            waits = [what for what in self._holds if what != PAUSE]
            waiting_for = waits[0] if waits else MODEL if self.retry else None
            status: _Open = "paused" if len(waits) < len(self._holds) else "waiting" if waits else "running"
            noted = (status, waiting_for, self.questions.unanswered, self.retry)
            if noted == self._noted:
                return
            self._noted = noted
            self.status, self.waiting_for = status, waiting_for
            self._changed()
            if not silent:
                self.mark(status, waiting_for)
                await run_local("note_status", self._run_note(status, waiting_for))

    def _run_note(self, status: _Open, waiting_for: str | None) -> RunNote:
        more: dict[str, Any] = {"questions": self.questions.unanswered} if self.questions.unanswered else {}
        if self.retry is not None:
            more["retry"] = self.retry
        ref = self._ref
        return RunNote(tenant_id=ref.tenant_id, run_id=ref.run_id, status=status, waiting_for=waiting_for, **more)
