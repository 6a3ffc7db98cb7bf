"""Lifecycle of a run: status, milestones and end, as its row records them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import structlog

from taskforce.application.audit.events import agent_event
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.runs.effects import settle_effects
from taskforce.application.runs.log_context import COMPLETED, STARTED, log_context
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.runs.tool_calls import arguments_of
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import missing
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.metering.prices import PriceBook
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.core.domain.runs.model_retry import ModelRetry
from taskforce.core.domain.runs.questions import QUESTION_SHOWN, Question, call_of
from taskforce.core.domain.runs.run import Ending, Run, RunSpec, RunStatus, Totals
from taskforce.core.domain.runs.transcript import Entry
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.metrics import RunEnded
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey
from taskforce.core.interfaces.store import Records, Store

MAX_UNHEARD = 1_000
"""Messages at most that a run is told of at once, as many as wait for its model."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Waits:
    """The state of an open run.

    Attributes:
        status: `running`, `waiting` or `paused`.
        waiting_for: What it waits for, as text for people.
        questions: The ids of its open questions, in order.
        retry: The next attempt of a model call that failed, or why a step waits.
    """

    status: RunStatus
    waiting_for: str | None = None
    questions: tuple[str, ...] = ()
    retry: ModelRetry | None = None


class RunLifecycle:
    """Use cases that change the status of a run.

    Args:
        store: The tenants' data.
        run_cache: The specifications of runs.
        live: Notifies watchers of runs.
        clock: The time, UTC.
        prices: The prices of the tenants.
    """

    def __init__(self, store: Store, run_cache: RunCache, live: Live, clock: Clock, *, prices: PriceBooks) -> None:
        self._store = store
        self._run_cache = run_cache
        self._live = live
        self._clock = clock
        self._prices = prices

    async def begin(self, tenant_id: str, run_id: str) -> RunSpec:
        """Marks a run as running; a second call changes nothing.

        Returns:
            The run's specification.

        Raises:
            Missing: `run_not_found`.
        """
        async with self._store.tenant(tenant_id) as records:
            spec = await self._run_cache.reread(records, tenant_id, run_id)
            await begin(records, spec, self._clock(), await self._prices.current(records))
        begun(self._live, spec)
        return spec

    async def reread(self, tenant_id: str, run_id: str) -> RunSpec:
        """Reads the specification of a run whose limits were raised, past the cache.

        Raises:
            Missing: `run_not_found`.
        """
        async with self._store.reading(tenant_id) as records:
            return await self._run_cache.reread(records, tenant_id, run_id)

    async def unheard(self, tenant_id: str, run_id: str) -> Sequence[str]:
        """Returns the ids of people's messages that are stored and that no step has heard, at most `MAX_UNHEARD`.

        Raises:
            Missing: `run_not_found`.
            Conflict: `run_cancelled`: not a message, but its cancellation is why the last reply has not ended the run.
        """
        spec = await self._run_cache.get(tenant_id, run_id)
        async with self._store.reading(tenant_id) as records:
            *_, stop, _ = await records.users.run_principal(spec.user_id, spec.agent.agent_id, run_id)
            stop.require_not_cancelled()
            return await records.messages.unheard(run_id, MAX_UNHEARD)

    async def note(self, tenant_id: str, run_id: str, waits: Waits) -> None:
        """Records that a run waits, is paused or continues; each change adds one milestone."""
        now = self._clock()
        async with self._store.tenant(tenant_id) as records:
            before = await records.runs.locked(run_id)
            # A late activity must not reopen a run that has ended.
            if before is None or before.status.is_final:
                return
            questions = await _questions(records, before, waits.questions)
            await records.runs.set_status(run_id, waits.status, waits.waiting_for, questions, waits.retry)
            for kind, data in _news(before, waits, questions):
                await records.events.append(run_id, kind, data, now)
        self._live.changed(tenant_id, run_id)

    async def total(self, tenant_id: str, run_id: str) -> Totals | None:
        """Updates the totals of a run's steps and tokens, and returns them; None where the run is gone."""
        async with self._store.tenant(tenant_id) as records:
            return await records.runs.total(run_id)

    async def end(self, tenant_id: str, run_id: str, ending: Ending) -> RunStatus | None:
        """Ends a run: totals, answer, milestone and audit event in one transaction.

        A second call changes nothing, nor does one for an erased run: its workflow may outlive its row.

        Args:
            tenant_id: The tenant.
            run_id: The run.
            ending: The final status and its reason.

        Returns:
            The status in which the run has ended, which is another where it had ended before, or its cancellation was
            promised; None for an erased run.
        """
        try:
            ended = await self._end(tenant_id, run_id, ending)
        except DuplicateKey:
            # A tool that was under way told its outcome in this moment, which stands now.
            ended = await self._end(tenant_id, run_id, ending)
        self._live.changed(tenant_id, run_id)
        if ended is not None:
            ended.log()
            return ended.ending.status
        async with self._store.reading(tenant_id) as records:
            run = await records.runs.get(run_id)
        return None if run is None else run.status

    async def _end(self, tenant_id: str, run_id: str, ending: Ending) -> "Ended | None":
        async with self._store.tenant(tenant_id) as records:
            try:
                spec = await self._run_cache.read(records, tenant_id, run_id)
            except Missing:
                return None
            now = self._clock()
            await settle_effects(records, spec, now)
            return await close(records, spec, ending, now)


async def _questions(records: Records, run: Run, calls: Sequence[str]) -> tuple[Question, ...]:
    """Reads the open questions of a run; their texts are in the arguments of its tool calls."""
    known = {question.question_id: question for question in run.questions}
    return tuple([known.get(one) or await _question(records, run.spec.run_id, one) for one in calls])


async def _question(records: Records, run_id: str, question: str) -> Question:
    place = call_of(question)
    reply = await records.transcripts.entry(run_id, place[0], 0) if place else None
    if place is None or reply is None:
        return Question(question)
    text = arguments_of(reply.tool_calls[place[1] - 1]).get("question")
    return Question(question, text[:QUESTION_SHOWN] if isinstance(text, str) else "")


def _news(run: Run, waits: Waits, questions: Sequence[Question]) -> Iterator[tuple[str, Json]]:
    """Returns the milestones of a change of an open run's state."""
    retry = waits.retry
    if retry is not None and retry != run.retry and not retry.is_wait:
        said = {"attempt": retry.attempt, "next_at": retry.at.isoformat(), "code": retry.code, "message": retry.message}
        yield "model.retrying", said
    # A retry is a milestone of its own; a second one that the run is (still) running would only repeat it.
    trying = (waits.status, run.status) == (RunStatus.RUNNING, RunStatus.RUNNING)
    if not trying and (waits.status, waits.waiting_for) != (run.status, run.waiting_for):
        ids = [question.question_id for question in questions]
        asked = {"questions": ids} if ids else {}
        why = {"code": retry.code, "message": retry.message} if retry is not None and retry.is_wait else {}
        yield f"run.{waits.status.value}", {"waiting_for": waits.waiting_for, **asked, **why}
    for question in questions:
        if question not in run.questions:
            step, call = call_of(question.question_id) or (0, 0)
            yield "question.asked", {**asdict(question), "step": step, "call": call}


async def begin(records: Records, spec: RunSpec, now: datetime, book: PriceBook) -> None:
    """Marks a run as running within the caller's transaction, and counts it; a second call changes nothing."""
    await records.runs.begin(spec.run_id, "run.started", now)
    await records.usage.add(UsageEntry.of_run(spec, now).priced(book))


def begun(live: Live, spec: RunSpec) -> None:
    """Notifies watchers and logs that a run has begun; to be called after the commit."""
    live.changed(spec.tenant_id, spec.run_id)
    _log.info(STARTED, **log_context(spec))


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has just ended.

    Attributes:
        spec: The run's specification.
        ending: The final status and its reason.
        totals: Steps, tokens and cost.
        at: The time of the end, UTC.
    """

    spec: RunSpec
    ending: Ending
    totals: Totals
    at: datetime

    @property
    def tokens(self) -> int:
        """Returns input and output tokens of the whole run."""
        return self.totals.tokens

    def log(self) -> None:
        """Logs the end; to be called after the commit."""
        _log.info(
            COMPLETED,
            success=self.ending.status is RunStatus.COMPLETED,
            **log_context(self.spec),
            total_steps=self.totals.steps,
            tokens_used=self.tokens,
            status=self.ending.status.value,
            duration_seconds=round((self.at - self.spec.created_at).total_seconds(), 3),
        )


async def close(records: Records, spec: RunSpec, ending: Ending, now: datetime) -> Ended | None:
    """Ends a run within the caller's transaction: totals, answer, milestone and audit event.

    Args:
        records: The tenant's records.
        spec: The run's specification.
        ending: The final status and its reason, unless its cancellation was promised; see `Run.ended_by`.
        now: The time, UTC.

    Returns:
        The ended run; None where it had ended before, and nothing was changed.
    """
    # Locked: a cancellation that is promised at this moment finds either an open run or its end.
    run = await records.runs.locked(spec.run_id)
    if run is None or run.status.is_final:
        return None
    ending = run.ended_by(ending)
    answer = await _answer(records, spec.run_id, ending)
    totals = await records.runs.close(spec.run_id, ending, answer, now)
    return await _tell_end(records, spec, ending, totals, now)


async def close_by_reply(
    records: Records, spec: RunSpec, ending: Ending, reply: Entry, now: datetime, *, messages: int | None
) -> Ended | None:
    """Ends a run with a reply of its model within the caller's transaction, as `close` does.

    Args:
        records: The tenant's records.
        spec: The run's specification.
        ending: The final status and its reason.
        reply: The reply, which is the answer.
        now: The time, UTC.
        messages: Ends it only if it has exactly so many messages of people; None does not check.

    Returns:
        The ended run; None where it had ended before, is to be cancelled, or has another number of messages, and
        nothing was changed: the workflow goes on, and ends it.
    """
    totals = await records.runs.close_by_reply(spec.run_id, ending, reply.text, now, messages=messages)
    return await _tell_end(records, spec, ending, totals, now)


async def _tell_end(
    records: Records, spec: RunSpec, ending: Ending, totals: Totals | None, now: datetime
) -> Ended | None:
    if totals is None:
        return None
    ended = Ended(spec, ending, totals, now)
    data = {"status": ending.status.value, "error_code": ending.error_code, "tokens": ended.tokens}
    await records.events.append(spec.run_id, "run.finished", data, now)
    # A call of it that is still under way adds what it has used all the same.
    await records.budgets.finish(spec.run_id)
    await records.audit.append(_audited(spec, ending, now))
    seconds = (now - spec.created_at).total_seconds()
    records.facts.append(RunEnded(spec.agent.agent_id, ending.status.value, seconds, totals.steps, ended.tokens))
    return ended


async def _answer(records: Records, run_id: str, ending: Ending) -> str | None:
    # A run that reached a limit between two steps has no closing reply: the latest reply is the best answer there is.
    if ending.status not in {RunStatus.COMPLETED, RunStatus.INCOMPLETE}:
        return None
    reply = await records.transcripts.last_reply(run_id)
    return reply.text if reply is not None else ""


def _audited(spec: RunSpec, ending: Ending, now: datetime) -> AuditEvent:
    reason = ending.error_code or ending.stop_reason
    return agent_event(spec, "run.end", "run", spec.run_id, now, outcome=ending.status.value, reason=reason)


async def require_run(store: Store, tenant_id: str, run_id: str) -> Run:
    """Reads a run.

    Raises:
        Missing: `run_not_found`.
    """
    async with store.reading(tenant_id) as records:
        run = await records.runs.get(run_id)
    if run is None:
        raise missing("run")
    return run


async def settle(running: RunLifecycle, tenant_id: str, run_id: str) -> None:
    """Ends the row of a run whose workflow is gone, as when an operator terminates it; one that has ended is unchanged.

    One that was to be cancelled ends so; see `Run.ended_by`.

    Args:
        running: The lifecycle of runs.
        tenant_id: The tenant.
        run_id: The run.
    """
    ending = Ending(
        RunStatus.FAILED, error_code="run_terminated", error_message="An operator terminated the run's workflow."
    )
    await running.end(tenant_id, run_id, ending)
