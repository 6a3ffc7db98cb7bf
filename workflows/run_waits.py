"""The waits of a run and its status, kept up to date in its row, its search attributes and its query."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows.runtime.activity_calls import asked_wait, await_release, last_failure, run_local
from workflows.runtime.markdown import escaped
from workflows.runtime.search_attributes import STATUS, WAITING_FOR, value

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from models.messages.frame import RunRef
    from models.messages.runs import RecordedUsage, RetryNote, RunNote
    from taskforce.core.domain.runs.model_retry import MESSAGE_SHOWN, pause_before
    from taskforce.core.domain.runs.questions import OpenQuestions

Result = TypeVar("Result")

PAUSE = "pause"
ANSWER = "an answer from a person"
MODEL = "the model"
RELEASE = "a kill switch to be let go"
DATABASE = "the database"
OUTAGE_SHOWN = "outage-shown"
"""2026-12: a step that the database does not answer waits for it, and the status says so; before, the server repeated a
tool until the run's time was over, and a model call failed the run when the model's patience was."""
USAGE_RECORDED = "usage-recorded"
"""2026-12: the end of a run records its usage; before, only parts that continued as new did."""
LONGEST_PAUSE = 60
"""Seconds at most between attempts of a step to which the database answers now and then."""
LONGEST_TURN_PAUSE = 600
"""Seconds at most between attempts of a step that awaits its turn, reached after ten hours: so twenty tools of a step
can wait for more than a day before their run's history is full."""
TURN = "other calls of its tenant"
# 2026-11: runs that were started without the status attribute set it for these statuses only, as their histories do.
SAYS_MORE = frozenset({"waiting", "paused", "incomplete"})

_Open = Literal["running", "waiting", "paused"]


class RunWaits:
    """The status of a run, its waits, and the time that it has waited for people.

    Args:
        ref: The run.
        changed: Called after a change of status, before the row is updated.

    Attributes:
        status: The status as in the run's row.
        questions: The open questions.
        retry: The next retry of a failed model call, or why a step waits: a kill switch, or the database.
    """

    def __init__(self, ref: RunRef, changed: Callable[[], None]) -> None:
        self.status: str = "running"
        self._waiting_for: str | None = None
        self._rows_away = 0
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

    @property
    def waiting_for(self) -> str | None:
        """Returns the display text of the wait; None without one."""
        return self._waiting_for or (DATABASE if self._rows_away else None)

    def held(self) -> timedelta:
        """Returns the time spent waiting for people, which does not count as work."""
        return self._held + (workflow.now() - self._held_since if self._holds else timedelta())

    async def hold(self, what: str) -> None:
        """Begins a wait for people."""
        if not self._holds:
            self._held_since = workflow.now()
        self._holds.append(what)
        await self._note()

    async def release(self, what: str) -> None:
        """Ends a wait for people."""
        self._holds.remove(what)
        if not self._holds:
            self._held += workflow.now() - self._held_since
        await self._note()

    async def until_released(self, error: FailureError) -> None:
        """Waits until the kill switch that halted a step is let go; the time does not count as work.

        Args:
            error: The failure of the halted step, which says who pulled the switch and why.
        """
        await self._hold_for(RELEASE, error)
        await await_release(self._ref)
        await self._release_after(RELEASE)

    async def until_database(self, error: FailureError, times: int) -> None:
        """Waits until the database answers that did not answer a step; the time does not count as work.

        Args:
            error: The failure of the step.
            times: How often it has failed so.
        """
        # The note is a row, so that it is written once the database answers, however long that takes.
        await self._hold_for(DATABASE, error)
        if times > 1:
            await workflow.sleep(pause_before(times, LONGEST_PAUSE, None, workflow.random().random()))
        await self._release_after(DATABASE)

    async def run_row(self, activity: str, message: BaseModel, result: type[Result] | None = None) -> Result:
        """Runs an activity on rows, however long the database does not answer; the status says so meanwhile.

        Args:
            activity: The activity's name.
            message: The activity's input.
            result: Type of the result; None for none.
        """
        return await run_local(activity, message, result, waits=self.show_outage)

    async def record_usage(self) -> None:
        """Records what the run has used, where operators see it in the history; its row has ended already."""
        if not workflow.patched(USAGE_RECORDED):
            return
        try:
            await self.run_row("record_usage", self._ref, RecordedUsage)
        except FailureError as error:
            # The execution ends as the row says, which holds the totals.
            workflow.logger.warning("usage.not_recorded", extra={"code": last_failure(error)[0]})

    def show_outage(self, away: bool) -> None:
        """Shows that an activity waits for the database, where no row or search attribute can tell it."""
        self._rows_away += 1 if away else -1
        self._changed()

    async def _hold_for(self, what: str, error: FailureError) -> None:
        if what not in self._holds:
            code, message = last_failure(error)
            self.retry = RetryNote(attempt=1, at=workflow.now(), code=code, message=message[:MESSAGE_SHOWN])
        await self.hold(what)

    async def _release_after(self, what: str) -> None:
        if self._holds.count(what) == 1:
            self.retry = None
        await self.release(what)

    async def until_turn(self, error: FailureError, times: int) -> None:
        """Waits before a call that its tenant's share had no room for is asked for again; no time of the run's work.

        Args:
            error: The refusal, which says how long to wait.
            times: How often the call was refused so in a row. Each refusal adds to the history, which the server
                bounds, and a turn may take days to come: so it waits longer and longer.
        """
        await self.hold(TURN)
        await workflow.sleep(min((asked_wait(error) or 0) * times, LONGEST_TURN_PAUSE))
        await self.release(TURN)

    async def try_again(self, retry: RetryNote | None, *, silent: bool = False) -> None:
        """Sets or clears the next retry of a model call.

        Args:
            retry: The next retry; None when the model has replied.
            silent: Whether the run has ended, so that its row needs no update.
        """
        # Each note is an activity in the history, so unchanged states write none.
        if retry != self.retry:
            self.retry = retry
            await self._note(silent=silent)

    def end(self, status: str) -> None:
        """Clears all waits and sets the final status."""
        self.status, self._waiting_for, self.retry = status, None, None

    def mark(self, status: str, waiting_for: str | None) -> None:
        """Sets the search attributes for status and wait."""
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
        # Parallel tool calls wait at the same time; without the lock an older status could be written last.
        async with self._noting:
            waits = [what for what in self._holds if what != PAUSE]
            waiting_for = waits[0] if waits else MODEL if self.retry else None
            status: _Open = "paused" if len(waits) < len(self._holds) else "waiting" if waits else "running"
            noted = (status, waiting_for, self.questions.unanswered, self.retry)
            if noted == self._noted:
                return
            self._noted = noted
            self.status, self._waiting_for = status, waiting_for
            self._changed()
            if not silent:
                self.mark(status, waiting_for)
                await self.run_row("note_status", self._run_note(status, waiting_for))

    def _run_note(self, status: _Open, waiting_for: str | None) -> RunNote:
        more: dict[str, Any] = {"questions": self.questions.unanswered} if self.questions.unanswered else {}
        if self.retry is not None:
            more["retry"] = self.retry
        ref = self._ref
        return RunNote(tenant_id=ref.tenant_id, run_id=ref.run_id, status=status, waiting_for=waiting_for, **more)
