"""Runs in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.runs import RunRow, SessionRow
from models.tables.usage import UsageRow
from taskforce.core.domain.runs import FINAL, AgentDefinition, Brief, Ending, Limits, Run, RunStatus, StopReason, Totals
from taskforce.core.domain.transcript import Exchange
from taskforce.core.interfaces.stored import Page, RunFilter
from taskforce.infrastructure.persistence.rows import Codec, Repository, storable, storable_json, table

_RUNS, _SESSIONS, _USAGE = table(RunRow), table(SessionRow), table(UsageRow)
_AGENT = Codec(AgentDefinition)
_OPEN = _RUNS.c.status.not_in([status.value for status in sorted(FINAL)])
_COUNTERS = ("steps", "tool_calls", "input_tokens", "output_tokens", "cached_tokens", "wasted_tokens", "event_seq")


class RunRows(Repository):
    """See `Runs`."""

    async def add(self, brief: Brief) -> None:
        """Commits what was asked for, before anything is started; makes the session if it is new."""
        session = {"session_id": brief.session_id, "user_id": brief.user_id, "created_at": brief.created_at}
        await self._connection.execute(
            insert(_SESSIONS).values({"tenant_id": self._tenant_id, **session}).on_conflict_do_nothing()
        )
        values = {
            "tenant_id": self._tenant_id,
            "run_id": brief.run_id,
            "session_id": brief.session_id,
            "user_id": brief.user_id,
            "profile": brief.profile,
            "agent_id": brief.agent.agent_id,
            "agent": storable_json(_AGENT.dump(brief.agent)),
            "mission": storable(brief.mission),
            "context": storable_json(brief.context),
            "max_steps": brief.limits.max_steps,
            "max_tokens": brief.limits.max_tokens,
            "max_seconds": brief.limits.max_seconds,
            "status": RunStatus.QUEUED.value,
            "created_at": brief.created_at,
        }
        await self._connection.execute(sa.insert(_RUNS).values({**values, **dict.fromkeys(_COUNTERS, 0)}))

    async def get(self, run_id: str) -> Run | None:
        """The run, if the tenant has it."""
        row = (await self._connection.execute(sa.select(_RUNS).where(*self._of(run_id)))).one_or_none()
        return None if row is None else _run(row)

    async def brief(self, run_id: str) -> Brief | None:
        """What never changes about the run."""
        run = await self.get(run_id)
        return None if run is None else run.brief

    async def page(self, which: RunFilter, page: Page) -> Sequence[Run]:
        """A page of runs, newest first."""
        query = sa.select(_RUNS).where(_RUNS.c.tenant_id == self._tenant_id)
        for name in ("status", "session_id", "agent_id", "user_id"):
            wanted = getattr(which, name)
            if wanted is not None:
                query = query.where(_RUNS.c[name] == wanted)
        if page.before is not None:
            at, run_id = page.before
            place = sa.tuple_(sa.literal(at, _RUNS.c.created_at.type), sa.literal(run_id, _RUNS.c.run_id.type))
            query = query.where(sa.tuple_(_RUNS.c.created_at, _RUNS.c.run_id) < place)
        newest = query.order_by(_RUNS.c.created_at.desc(), _RUNS.c.run_id.desc()).limit(page.limit)
        return [_run(row) for row in await self._connection.execute(newest)]

    async def exchanges(self, brief: Brief, most: int) -> tuple[Exchange, ...]:
        """The latest answered runs of the session before this one, oldest first."""
        query = (
            sa.select(_RUNS.c.mission, _RUNS.c.answer)
            .where(_RUNS.c.tenant_id == self._tenant_id, _RUNS.c.session_id == brief.session_id)
            .where(_RUNS.c.created_at < brief.created_at, _RUNS.c.answer.is_not(None))
            .order_by(_RUNS.c.created_at.desc())
            .limit(most)
        )
        rows = (await self._connection.execute(query)).all()
        return tuple(Exchange(row.mission, row.answer) for row in reversed(rows))

    async def session_owner(self, session_id: str) -> str | None:
        """Whose session it is."""
        keyed = {"tenant_id": self._tenant_id, "session_id": session_id}
        return (await self._connection.execute(sa.select(_SESSIONS.c.user_id).filter_by(**keyed))).scalar_one_or_none()

    async def begin(self, run_id: str, now: datetime) -> bool:
        """Marks a queued run as running."""
        queued = _RUNS.c.status == RunStatus.QUEUED.value
        return await self._update(run_id, queued, status=RunStatus.RUNNING.value, started_at=now)

    async def set_status(self, run_id: str, status: RunStatus, waiting_for: str | None) -> bool:
        """Changes the status of an open run."""
        return await self._update(run_id, _OPEN, status=status.value, waiting_for=waiting_for)

    async def total(self, run_id: str) -> Totals:
        """Adds up the usage records into the run's row; doing it again gives the same."""
        model, wasted = _USAGE.c.model.is_not(None), _USAGE.c.error_code.is_not(None)
        both = _USAGE.c.input_tokens + _USAGE.c.output_tokens
        sums = {
            "tool_calls": sa.func.count().filter(_USAGE.c.tool.is_not(None)),
            "input_tokens": _sum(_USAGE.c.input_tokens, model),
            "output_tokens": _sum(_USAGE.c.output_tokens, model),
            "cached_tokens": _sum(_USAGE.c.cached_tokens, model),
            "wasted_tokens": _sum(both, wasted),
        }
        query = sa.select(*(value.label(name) for name, value in sums.items())).where(
            _USAGE.c.tenant_id == self._tenant_id, _USAGE.c.run_id == run_id
        )
        counted = (await self._connection.execute(query)).one()._asdict()
        values = {name: int(value) for name, value in counted.items()}
        await self._update(run_id, sa.true(), **values)
        run = await self.get(run_id)
        return run.totals if run is not None else Totals()

    async def close(self, run_id: str, ending: Ending, answer: str | None, now: datetime) -> bool:
        """Ends an open run; False when it had already ended."""
        return await self._update(
            run_id,
            _OPEN,
            status=ending.status.value,
            stop_reason=ending.stop_reason,
            error_code=ending.error_code,
            error_message=None if ending.error_message is None else storable(ending.error_message),
            answer=None if answer is None else storable(answer),
            waiting_for=None,
            finished_at=now,
        )

    def _of(self, run_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return _RUNS.c.tenant_id == self._tenant_id, _RUNS.c.run_id == run_id

    async def _update(self, run_id: str, condition: sa.ColumnElement[bool], **values: object) -> bool:
        return await self._inserted(sa.update(_RUNS).where(*self._of(run_id), condition).values(**values))


def _sum(column: sa.ColumnElement[int], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column).filter(condition), 0)


def _run(row: Any) -> Run:  # noqa: ANN401 - SQLAlchemy rows are untyped
    return Run(
        brief=Brief(
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
        ),
        status=RunStatus(row.status),
        totals=Totals(
            steps=row.steps,
            tool_calls=row.tool_calls,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cached_tokens=row.cached_tokens,
            wasted_tokens=row.wasted_tokens,
        ),
        waiting_for=row.waiting_for,
        answer=row.answer,
        stop_reason=StopReason(row.stop_reason) if row.stop_reason else None,
        error_code=row.error_code,
        error_message=row.error_message,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
