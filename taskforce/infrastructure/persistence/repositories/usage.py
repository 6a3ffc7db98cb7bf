"""Repository of usage records in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.usage import UsageRow
from taskforce.core.domain.metering.usage import StepUsage, UsageEntry
from taskforce.core.interfaces.metrics import ModelCalled
from taskforce.infrastructure.persistence.connection import DeferredWrite, Query
from taskforce.infrastructure.persistence.repository import Repository, table, where

_USAGE = table(UsageRow)


def _of_steps() -> sa.Select[Any]:
    wasted = sa.func.sum(_USAGE.c.input_tokens + _USAGE.c.output_tokens).filter(_USAGE.c.error_code.is_not(None))
    sums = {
        "input": sa.func.sum(_USAGE.c.input_tokens),
        "output": sa.func.sum(_USAGE.c.output_tokens),
        "cached": sa.func.sum(_USAGE.c.cached_tokens),
        "wasted": sa.func.coalesce(wasted, 0),
        "models": sa.func.array_agg(sa.distinct(_USAGE.c.model)),
    }
    return (
        sa.select(_USAGE.c.step, *(value.label(name) for name, value in sums.items()))
        .where(where(_USAGE, "run_id"), _USAGE.c.model.is_not(None))
        .where(_USAGE.c.step.between(sa.bindparam("first"), sa.bindparam("last")))
        .group_by(_USAGE.c.step)
    )


_ADD = DeferredWrite(used=Query(insert(_USAGE).on_conflict_do_nothing()))
_OF_STEPS = Query(_of_steps())


class UsageRepository(Repository):
    """Stores usage records, unique by their keys; fulfils `Usage`."""

    async def add(self, spending: UsageEntry) -> None:
        """Stores the usage of an effect; a record that exists already is left as it is."""
        keyed = {
            "tenant_id": self._tenant_id,
            "run_id": spending.run_id,
            "step": spending.step,
            "call": spending.call,
            "attempt": spending.attempt,
            "user_id": spending.user_id,
            "agent_id": spending.agent_id,
            "at": spending.at,
        }
        for part, row in enumerate(_rows(spending)):
            await self._connection.later(_ADD, {**keyed, "part": part, **row})
            if row["model"] is not None:
                self._connection.facts.append(_model_called(row))

    async def of_steps(self, run_id: str, first: int, last: int) -> Sequence[StepUsage]:
        """Returns the model's usage in each of the steps."""
        values = {**self._of(run_id=run_id), "first": first, "last": last}
        return [
            StepUsage(
                step=row.step,
                input_tokens=int(row.input),
                output_tokens=int(row.output),
                cached_tokens=int(row.cached),
                wasted_tokens=int(row.wasted),
                models=tuple(sorted(row.models)),
            )
            for row in await self._connection.all(_OF_STEPS, values)
        ]


def _model_called(row: Mapping[str, Any]) -> ModelCalled:
    return ModelCalled(
        row["model"],
        row["duration_ms"] / 1_000,
        row["input_tokens"],
        row["output_tokens"],
        row["cached_tokens"],
        failed=row["error_code"],
        cost=row.get("cost"),
        currency=row.get("currency"),
    )


def _rows(spending: UsageEntry) -> Sequence[Mapping[str, object]]:
    if spending.tool is not None:
        nothing = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0}
        return [
            {**nothing, "tool": spending.tool, "model": None, "error_code": None, "duration_ms": spending.duration_ms}
        ]
    return [
        {
            "tool": None,
            "model": call.model,
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "cached_tokens": call.cached_tokens,
            "error_code": call.failed,
            "duration_ms": call.duration_ms,
        }
        for call in spending.calls
    ]
