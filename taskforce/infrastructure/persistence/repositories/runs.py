"""Repository of runs in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from models.tables.runs import RunRow, RunWordRow, SessionRow
from models.tables.usage import UsageRow
from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.metering.usage import UsageKind
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.model_retry import ModelRetry
from taskforce.core.domain.runs.questions import Question
from taskforce.core.domain.runs.records import Erased, RunFilter
from taskforce.core.domain.runs.run import (
    ANSWER_EXCERPT,
    FINAL,
    HARD_LIMITS,
    AgentDefinition,
    Ending,
    Limits,
    Run,
    RunSpec,
    RunStatus,
    StopReason,
    Totals,
)
from taskforce.core.domain.runs.transcript import Exchange
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repositories.run_records import milestone
from taskforce.infrastructure.persistence.repositories.usage import ESTIMATED, WASTED, total
from taskforce.infrastructure.persistence.repository import (
    Codec,
    Repository,
    newest,
    storable,
    storable_json,
    table,
    where,
)

ERASED_ROWS = 20_000
"""Size of a batch of runs to erase, in milestones and pieces of content; the run that reaches it is the last."""

_RUNS, _SESSIONS, _USAGE, _WORDS = table(RunRow), table(SessionRow), table(UsageRow), table(RunWordRow)
_AGENT, _RETRY, _ATTRIBUTION = Codec(AgentDefinition), Codec(ModelRetry), Codec(Attribution)
_QUESTIONS = Codec(tuple[Question, ...])
_OPEN = sa.and_(*(_RUNS.c.status != status.value for status in sorted(FINAL)))
_SUMS = {
    "tool_calls": sa.func.count().filter(_USAGE.c.kind == UsageKind.TOOL.value),
    **{
        f"{name}_tokens": total(_USAGE.c[f"{name}_tokens"])
        for name in ("input", "output", "cached", "cache_write", "reasoning")
    },
    "wasted_tokens": WASTED,
    "estimated_tokens": ESTIMATED,
}
_COUNTERS = ("steps", "event_seq", *_SUMS)


def _totalled(*conditions: sa.ColumnElement[bool], sets: Sequence[str] = ()) -> sa.ClauseElement:
    """Builds an update of the run's row that adds up its usage records; parameters set columns of their names."""
    summed = sa.select(*(value.label(name) for name, value in _SUMS.items())).where(where(_USAGE, "run_id")).subquery()
    totals = {name: summed.c[name] for name in _SUMS}
    said = {name: sa.bindparam(name, type_=_RUNS.c[name].type) for name in sets}
    changed = sa.update(_RUNS).where(_OF_RUN, *conditions).values({**totals, **said})
    return changed.returning(_RUNS.c.steps, *(_RUNS.c[name] for name in totals))


def _exchanges() -> sa.ClauseElement:
    answered = sa.select(_RUNS.c.mission, _RUNS.c.answer).where(where(_RUNS, "session_id"), _RUNS.c.answer.is_not(None))
    earlier = answered.where(_RUNS.c.created_at < sa.bindparam("before"))
    return earlier.order_by(_RUNS.c.created_at.desc()).limit(sa.bindparam("most", type_=sa.Integer))


def _newest(columns: sa.Select[Any], conditions: Sequence[sa.ColumnElement[bool]], page: Page) -> sa.Select[Any]:
    return newest(columns.where(*conditions), _RUNS.c.created_at, _RUNS.c.run_id, page)


def _of_each_status(conditions: Sequence[sa.ColumnElement[bool]], page: Page) -> sa.Select[Any]:
    """Builds the statement of a page of runs in whatever status, by the indexes in which the status precedes the time.

    So the runs of one user or agent are found in each status, and in all of them, by one index each.
    """
    statuses = sa.cast([status.value for status in RunStatus], ARRAY(sa.Text))
    each = sa.func.unnest(statuses).table_valued("status").render_derived(name="each")
    keys = sa.select(_RUNS.c.created_at, _RUNS.c.run_id)
    of_one = _newest(keys, [*conditions, _RUNS.c.status == each.c.status], page).lateral("of_one")
    every = sa.select(of_one).select_from(each.join(of_one, sa.true()))
    chosen = newest(every, of_one.c.created_at, of_one.c.run_id, page).subquery("chosen")
    # The keys first: of the few that the page holds, the rows are read, and no others.
    rows = sa.select(*_LISTED).join(chosen, _RUNS.c.run_id == chosen.c.run_id).where(*conditions)
    return rows.order_by(_RUNS.c.created_at.desc(), _RUNS.c.run_id.desc())


_OF_RUN = where(_RUNS, "run_id")
_WAITS = ("waiting_for", "questions", "retry")
_ENDING = ("status", "stop_reason", "error_code", "error_message", "answer", "finished_at", *_WAITS)
_ADD_SESSION = Query(insert(_SESSIONS).on_conflict_do_nothing())
_OWNER = Query(sa.select(_SESSIONS.c.user_id).where(where(_SESSIONS, "session_id")))
_ADD = Query(sa.insert(_RUNS))
_GET = Query(sa.select(_RUNS).where(_OF_RUN))
# The text beyond the excerpt is not read from the database.
# One character more than is shown tells whether it was cut.
_EXCERPT = sa.func.left(_RUNS.c.answer, ANSWER_EXCERPT + 1).label("answer")
_LISTED = [*(column for column in _RUNS.c if column.name != "answer"), _EXCERPT]
_EXCHANGES = Query(_exchanges())
_LOCKED = Query(sa.select(_RUNS).where(_OF_RUN).with_for_update())
_SET_LIMITS = Query(sa.update(_RUNS).where(_OF_RUN), sets=tuple(HARD_LIMITS))
_BEGUN = {"status": RunStatus.RUNNING.value, "started_at": sa.bindparam("now", type_=_RUNS.c.started_at.type)}
_BEGIN = milestone(sa.update(_RUNS).where(_OF_RUN, _OPEN, _RUNS.c.started_at.is_(None)).values(_BEGUN))
_SET_STATUS = Query(sa.update(_RUNS).where(_OF_RUN, _OPEN), sets=("status", *_WAITS))
_TOTAL = Query(_totalled())
# Written exactly as the partial index `runs_open` is, or PostgreSQL does not use it.
STILL_OPEN = sa.text("status IN ('queued', 'running', 'waiting', 'paused')")
_OPEN_RUNS = Query(sa.select(sa.func.count()).where(where(_RUNS), STILL_OPEN))
_OF_AGENT = Query(sa.select(sa.func.count()).where(where(_RUNS, "agent_id"), STILL_OPEN))
_OF_VERSION = Query(
    sa.select(_RUNS.c.run_id)
    .where(where(_RUNS, "version_id"), STILL_OPEN)
    .order_by(_RUNS.c.run_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_CANCEL = Query(
    sa.update(_RUNS)
    .where(where(_RUNS, "version_id"), STILL_OPEN)
    .values(cancel_at=sa.bindparam("now", type_=_RUNS.c.created_at.type))
    .returning(_RUNS.c.run_id)
)
_CANCEL_ONE = Query(
    sa.update(_RUNS)
    .where(_OF_RUN, STILL_OPEN, _RUNS.c.cancel_at.is_(None))
    .values(cancel_at=sa.bindparam("now", type_=_RUNS.c.created_at.type))
)
# Of two concurrent starts the second waits, and then counts the first's run.
_LOCK_SESSIONS = Query(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('sessions:' || :tenant, 0))"))
_CLOSE = Query(_totalled(_OPEN, sets=_ENDING))
_SAID = sa.select(sa.func.count()).where(where(_WORDS, "run_id")).scalar_subquery()
_TOLD = sa.bindparam("messages", type_=sa.Integer)
# A reply does not end a run whose cancellation was promised meanwhile.
_HEARD = sa.and_(_RUNS.c.cancel_at.is_(None), sa.or_(_TOLD.is_(None), _TOLD == _SAID))
_CLOSE_HEARD = Query(_totalled(_OPEN, _HEARD, sets=_ENDING))
_ERASE = Query(sa.text("SELECT * FROM erase_ended_runs(:ended_before, :most, :most_rows)"))


class RunRepository(Repository):
    """Stores runs and their totals; fulfils `Runs`."""

    async def add(self, spec: RunSpec) -> bool:
        """Stores a run before its workflow is started; creates the session, and returns True, if it is new."""
        session = {"session_id": spec.session_id, "user_id": spec.user_id, "created_at": spec.created_at}
        began = await self._connection.change(_ADD_SESSION, {"tenant_id": self._tenant_id, **session}) > 0
        values = {
            "tenant_id": self._tenant_id,
            "run_id": spec.run_id,
            "session_id": spec.session_id,
            "user_id": spec.user_id,
            "profile": spec.profile,
            "agent_id": spec.agent.agent_id,
            "version_id": None if spec.agent.pinned is None else spec.agent.pinned.version_id,
            "agent": storable_json(_AGENT.dump(spec.agent)),
            "mission": storable(spec.mission),
            "context": storable_json(spec.context),
            "max_steps": spec.limits.max_steps,
            "max_tokens": spec.limits.max_tokens,
            "max_seconds": spec.limits.max_seconds,
            "status": RunStatus.QUEUED.value,
            "created_at": spec.created_at,
            "sweep_at": spec.created_at,
            "key_id": spec.key_id,
            "claimed_roles": None if spec.claimed_roles is None else sorted(spec.claimed_roles),
            "claimed_attributes": None if spec.claimed_attributes is None else storable_json(spec.claimed_attributes),
            "attribution": storable_json(_ATTRIBUTION.dump(spec.attribution)),
        }
        # The statement sets all columns, so that it is compiled once; what a new run does not have is NULL.
        empty = dict.fromkeys((column.name for column in _RUNS.c), None)
        await self._connection.change(_ADD, {**empty, **values, "questions": [], **dict.fromkeys(_COUNTERS, 0)})
        return began

    async def get(self, run_id: str) -> Run | None:
        """Returns the run, if the tenant has it."""
        row = await self._connection.first(_GET, self._of(run_id=run_id))
        return None if row is None else _run(row)

    async def spec(self, run_id: str) -> RunSpec | None:
        """Returns the run's specification."""
        run = await self.get(run_id)
        return None if run is None else run.spec

    async def page(self, which: RunFilter, page: Page) -> Sequence[Run]:
        """Returns a page of runs, newest first, with excerpts of their answers; see `Run.answer`."""
        wanted = {name: getattr(which, name) for name in ("status", "session_id", "agent_id", "user_id")}
        conditions = [_RUNS.c[name] == value for name, value in wanted.items() if value is not None]
        conditions.append(_RUNS.c.tenant_id == self._tenant_id)
        by_status = which.status is None and which.session_id is None and len(conditions) > 1
        listed = _of_each_status(conditions, page) if by_status else _newest(sa.select(*_LISTED), conditions, page)
        return [_run(row) for row in await self._listed(listed)]

    async def exchanges(self, spec: RunSpec, most: int) -> tuple[Exchange, ...]:
        """Returns the latest answered runs of the session before this one, oldest first."""
        of_session = self._of(session_id=spec.session_id)
        rows = await self._connection.all(_EXCHANGES, {**of_session, "before": spec.created_at, "most": most})
        return tuple(Exchange(row.mission, row.answer) for row in reversed(rows))

    async def session_owner(self, session_id: str) -> str | None:
        """Returns the owner of a session."""
        owner: str | None = await self._connection.value(_OWNER, self._of(session_id=session_id))
        return owner

    async def open_runs(self) -> int:
        """Returns the number of open runs; concurrent callers wait until this transaction ends."""
        await self._connection.value(_LOCK_SESSIONS, {"tenant": self._tenant_id})
        return int(await self._connection.value(_OPEN_RUNS, self._of()))

    async def open_of_agent(self, agent_id: str) -> int:
        """Returns the number of open runs of a catalog agent."""
        return int(await self._connection.value(_OF_AGENT, self._of(agent_id=agent_id)))

    async def open_of_version(self, version_id: str, most: int) -> Sequence[str]:
        """Returns the ids of open runs that are pinned to a version, oldest first."""
        rows = await self._connection.all(_OF_VERSION, {**self._of(version_id=version_id), "most": most})
        return [row.run_id for row in rows]

    async def to_cancel(self, version_id: str, now: datetime) -> Sequence[str]:
        """Marks the open runs of a version for cancellation; returns their ids, oldest first."""
        rows = await self._connection.all(_CANCEL, {**self._of(version_id=version_id), "now": now})
        return sorted(row.run_id for row in rows)

    async def cancel(self, run_id: str, now: datetime) -> None:
        """Marks an open run for cancellation; the first mark stays."""
        await self._connection.change(_CANCEL_ONE, {**self._of(run_id=run_id), "now": now})

    async def locked(self, run_id: str) -> Run | None:
        """Returns the run; its row is locked until the commit."""
        row = await self._connection.first(_LOCKED, self._of(run_id=run_id))
        return None if row is None else _run(row)

    async def set_limits(self, run_id: str, limits: Limits) -> None:
        """Changes the limits of a run."""
        await self._update(_SET_LIMITS, run_id, **asdict(limits))

    async def begin(self, run_id: str, milestone: str, now: datetime) -> None:
        """Marks a queued run as running, and appends the milestone."""
        values = {"kind": milestone, "content": {}, "now": now}
        await self._connection.later(_BEGIN, {**self._of(run_id=run_id), **values})

    async def set_status(
        self,
        run_id: str,
        status: RunStatus,
        waiting_for: str | None,
        questions: Sequence[Question] = (),
        retry: ModelRetry | None = None,
    ) -> bool:
        """Changes the status of an open run, and what it waits for."""
        waits = {"waiting_for": waiting_for, "questions": storable_json(_QUESTIONS.dump(tuple(questions)))}
        tries = None if retry is None else storable_json(_RETRY.dump(retry))
        return await self._update(_SET_STATUS, run_id, status=status.value, **waits, retry=tries)

    async def total(self, run_id: str) -> Totals | None:
        """Adds up the usage records into the run's row; repeating it gives the same. None where the run is gone."""
        row = await self._connection.first(_TOTAL, self._of(run_id=run_id))
        return None if row is None else _totals(row)

    async def close(self, run_id: str, ending: Ending, answer: str | None, now: datetime) -> Totals | None:
        """Closes an open run and adds up its usage records."""
        row = await self._connection.first(_CLOSE, {**self._of(run_id=run_id), **_closed(ending, answer, now)})
        return None if row is None else _totals(row)

    async def close_by_reply(
        self, run_id: str, ending: Ending, answer: str, now: datetime, *, messages: int | None
    ) -> Totals | None:
        """Closes an open run that is not marked for cancellation and, with a number of messages, still has as many."""
        values = {**_closed(ending, answer, now), "messages": messages}
        row = await self._connection.first(_CLOSE_HEARD, {**self._of(run_id=run_id), **values})
        return None if row is None else _totals(row)

    async def erase(self, ended_before: datetime, most: int) -> Erased:
        """Erases runs that ended before a time, with all their records; the owner's SQL function checks again."""
        values = {"ended_before": ended_before, "most": most, "most_rows": ERASED_ROWS}
        row = await self._connection.one(_ERASE, values)
        return Erased(row.runs, row.requests, row.sessions)

    async def _update(self, query: Query, run_id: str, **values: object) -> bool:
        return await self._connection.change(query, {**self._of(run_id=run_id), **values}) > 0


def _closed(ending: Ending, answer: str | None, now: datetime) -> dict[str, object]:
    return {
        "status": ending.status.value,
        "stop_reason": ending.stop_reason,
        "error_code": ending.error_code,
        "error_message": None if ending.error_message is None else storable(ending.error_message),
        "answer": None if answer is None else storable(answer),
        "waiting_for": None,
        "questions": [],
        "retry": None,
        "finished_at": now,
    }


def _run(row: Row) -> Run:
    return Run(
        spec=RunSpec(
            tenant_id=row.tenant_id,
            run_id=row.run_id,
            session_id=row.session_id,
            user_id=row.user_id,
            profile=row.profile,
            agent=_AGENT.load(row.agent),
            mission=row.mission,
            context=row.context,
            limits=Limits(row.max_steps, row.max_tokens, row.max_seconds),
            created_at=row.created_at,
            key_id=row.key_id,
            claimed_roles=None if row.claimed_roles is None else frozenset(row.claimed_roles),
            claimed_attributes=row.claimed_attributes,
            attribution=Attribution() if row.attribution is None else _ATTRIBUTION.load(row.attribution),
        ),
        status=RunStatus(row.status),
        totals=_totals(row),
        waiting_for=row.waiting_for,
        answer=row.answer,
        stop_reason=StopReason(row.stop_reason) if row.stop_reason else None,
        error_code=row.error_code,
        error_message=row.error_message,
        started_at=row.started_at,
        finished_at=row.finished_at,
        questions=_QUESTIONS.load(row.questions),
        retry=None if row.retry is None else _RETRY.load(row.retry),
        cancel_requested=row.cancel_at is not None,
    )


def _totals(row: Row) -> Totals:
    return Totals(steps=row.steps, **{name: row[name] for name in _SUMS})
