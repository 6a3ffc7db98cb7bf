"""Repository of usage records in PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.usage import UsageRow
from taskforce.core.domain.metering.prices import Charge
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.metering.usage import StepUsage, UsageEntry, UsageKind
from taskforce.core.interfaces.metrics import ModelCalled
from taskforce.infrastructure.persistence.connection import DeferredWrite, Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable, storable_json, table, where

_USAGE = table(UsageRow)
OF_MODELS = _USAGE.c.kind == UsageKind.MODEL.value
ALL_TOKENS = _USAGE.c.input_tokens + _USAGE.c.output_tokens
_COUNTS = TokenCounts.__slots__


def total(column: sa.ColumnElement[int], *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    """Builds the sum of a column over the records of model calls; 0 where there are none.

    Args:
        column: The column.
        conditions: Further conditions on the records.
    """
    return sa.func.coalesce(sa.func.sum(column).filter(sa.and_(OF_MODELS, *conditions)), 0)


WASTED = total(ALL_TOKENS, _USAGE.c.error_code.is_not(None))
ESTIMATED = total(ALL_TOKENS, _USAGE.c.estimated.is_not(None))


def _of_steps() -> sa.Select[Any]:
    sums = {
        **{name: total(_USAGE.c[f"{name}_tokens"]) for name in _COUNTS},
        "wasted": WASTED,
        "estimated": ESTIMATED,
        "models": sa.func.array_agg(sa.distinct(_USAGE.c.model)),
    }
    return (
        sa.select(_USAGE.c.step, *(value.label(name) for name, value in sums.items()))
        .where(where(_USAGE, "run_id"), OF_MODELS)
        .where(_USAGE.c.step.between(sa.bindparam("first"), sa.bindparam("last")))
        .group_by(_USAGE.c.step)
    )


_ADD = DeferredWrite(used=Query(insert(_USAGE).on_conflict_do_nothing()))
_OF_STEPS = Query(_of_steps())
_NONE: Mapping[str, object] = {
    **{f"{name}_tokens": 0 for name in _COUNTS},
    **dict.fromkeys(("model", "provider", "tool", "error_code", "estimated", "cost", "currency", "price_source")),
    "duration_ms": 0,
    "rolled_up": False,
}


class UsageRepository(Repository):
    """Stores usage records, unique by their keys; fulfils `Usage`."""

    async def add(self, spending: UsageEntry) -> None:
        """Stores the usage of an effect; a record that exists already is left as it is."""
        charged = spending.attribution
        keyed = {
            "tenant_id": self._tenant_id,
            "run_id": spending.run_id,
            "step": spending.step,
            "call": spending.call,
            "attempt": spending.attempt,
            "user_id": spending.user_id,
            "agent_id": spending.agent_id,
            "agent_version": spending.agent_version,
            "session_id": spending.session_id,
            "department": charged.department,
            "cost_center": charged.cost_center,
            "tags": storable_json(charged.tags),
            "at": spending.at,
        }
        rows = list(_rows(spending))
        costs = [_cost_columns(charge) for charge in spending.charges] or [{}] * len(rows)
        for part, (row, cost) in enumerate(zip(rows, costs, strict=True)):
            await self._connection.later(_ADD, {**keyed, "part": part, **_NONE, **row, **cost})
            if row["kind"] == UsageKind.MODEL.value:
                self._connection.facts.append(_model_called({**row, **cost}))

    async def of_steps(self, run_id: str, first: int, last: int) -> Sequence[StepUsage]:
        """Returns the model's usage in each of the steps."""
        values = {**self._of(run_id=run_id), "first": first, "last": last}
        return [
            StepUsage(
                step=row.step,
                tokens=_counts(row),
                wasted_tokens=int(row.wasted),
                estimated_tokens=int(row.estimated),
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


def _counts(row: Row) -> TokenCounts:
    return TokenCounts(*(int(row[name]) for name in _COUNTS))


def _rows(spending: UsageEntry) -> Iterator[Mapping[str, object]]:
    """Yields the records of an effect; their places are their parts."""
    if spending.step == 0:
        yield {"kind": UsageKind.RUN.value}
    elif spending.tool is not None:
        tool = storable(spending.tool)
        yield {
            "kind": UsageKind.TOOL.value,
            "tool": tool,
            "error_code": spending.failed,
            "duration_ms": spending.duration_ms,
        }
        for used in spending.resources:
            called = {"model": used.model, "provider": used.provider, "estimated": used.estimated, "tool": tool}
            timed = {"kind": used.kind.value, "duration_ms": used.duration_ms}
            yield {**called, **timed, **_token_columns(used.tokens)}
    for call in spending.calls:
        yield {
            "kind": UsageKind.MODEL.value,
            "model": call.model,
            "provider": call.provider,
            "error_code": call.failed,
            "estimated": call.estimated,
            "duration_ms": call.duration_ms,
            **_token_columns(call.tokens),
        }


def _token_columns(tokens: TokenCounts) -> Mapping[str, object]:
    return {f"{name}_tokens": getattr(tokens, name) for name in _COUNTS}


def _cost_columns(charge: Charge | None) -> Mapping[str, object]:
    if charge is None:
        return {}
    return {"cost": charge.cost, "currency": charge.currency, "price_source": charge.source}
