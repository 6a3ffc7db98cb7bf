"""Usage records in PostgreSQL."""

from collections.abc import Mapping, Sequence

from sqlalchemy.dialects.postgresql import insert

from models.tables.usage import UsageRow
from taskforce.core.interfaces.records import Spending
from taskforce.infrastructure.persistence.rows import Repository, table

_USAGE = table(UsageRow)


class UsageRows(Repository):
    """See `Usage`."""

    async def add(self, spending: Spending) -> None:
        """Records what an effect used; a record that exists already is left as it is."""
        rows = _rows(spending)
        if rows:
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
            values = [{**keyed, "part": part, **row} for part, row in enumerate(rows)]
            await self._connection.execute(insert(_USAGE).on_conflict_do_nothing(), values)


def _rows(spending: Spending) -> Sequence[Mapping[str, object]]:
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
