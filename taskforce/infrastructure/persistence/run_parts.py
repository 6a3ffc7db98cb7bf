"""What hangs on a run in PostgreSQL: words, effects, whole results, files, events."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.runs import RunEffectRow, RunEventRow, RunFileRow, RunResultRow, RunRow, RunWordRow
from taskforce.core.interfaces.stored import Event, Json
from taskforce.core.interfaces.tools import StoredFile
from taskforce.infrastructure.persistence.rows import Repository, storable, storable_json, table

_WORDS, _EFFECTS, _RESULTS = table(RunWordRow), table(RunEffectRow), table(RunResultRow)
_FILES, _EVENTS, _RUNS = table(RunFileRow), table(RunEventRow), table(RunRow)


def _append() -> sa.Executable:
    counted = (
        sa.update(_RUNS)
        .where(_RUNS.c.tenant_id == sa.bindparam("tenant"), _RUNS.c.run_id == sa.bindparam("run"))
        .values(
            event_seq=_RUNS.c.event_seq + 1,
            steps=sa.func.greatest(_RUNS.c.steps, sa.bindparam("step", type_=_RUNS.c.steps.type)),
        )
        .returning(_RUNS.c.tenant_id, _RUNS.c.run_id, _RUNS.c.event_seq)
        .cte("counted")
    )
    values = sa.select(
        counted.c.tenant_id,
        counted.c.run_id,
        counted.c.event_seq,
        sa.bindparam("kind", type_=_EVENTS.c.type.type),
        sa.bindparam("content", type_=_EVENTS.c.data.type),
        sa.bindparam("now", type_=_EVENTS.c.at.type),
    )
    columns = ["tenant_id", "run_id", "seq", "type", "data", "at"]
    return sa.insert(_EVENTS).from_select(columns, values).returning(_EVENTS.c.seq)


# Made once: making and hashing a statement takes longer than sending it.
_APPEND = _append()


class WordRows(Repository):
    """See `Words`."""

    async def add(self, run_id: str, word_id: str, author_id: str, text: str, now: datetime) -> None:
        """Keeps a word until the model hears it."""
        values = {"run_id": run_id, "word_id": word_id, "author_id": author_id, "text": storable(text), "at": now}
        await self._connection.execute(
            insert(_WORDS).values({"tenant_id": self._tenant_id, **values}).on_conflict_do_nothing()
        )

    async def get(self, run_id: str, word_ids: Sequence[str]) -> Sequence[tuple[str, str]]:
        """(author, text) in the order asked; ids that are not there are left out."""
        query = sa.select(_WORDS).where(
            _WORDS.c.tenant_id == self._tenant_id, _WORDS.c.run_id == run_id, _WORDS.c.word_id.in_(word_ids)
        )
        found = {row.word_id: (row.author_id, row.text) for row in await self._connection.execute(query)}
        return [found[word_id] for word_id in word_ids if word_id in found]


class EffectRows(Repository):
    """See `Effects`."""

    async def begin(self, run_id: str, step: int, call: int, tool: str, now: datetime) -> bool:
        """Marks the start of an effect; False when it was marked before."""
        values = {"run_id": run_id, "step": step, "call": call, "tool": storable(tool), "at": now}
        statement = insert(_EFFECTS).values({"tenant_id": self._tenant_id, **values}).on_conflict_do_nothing()
        return await self._inserted(statement)


class ResultRows(Repository):
    """See `WholeResults`."""

    async def add(self, run_id: str, step: int, call: int, content: str) -> None:
        """Stores a result as a whole, once."""
        values = {"run_id": run_id, "step": step, "call": call, "content": storable(content)}
        await self._connection.execute(
            insert(_RESULTS).values({"tenant_id": self._tenant_id, **values}).on_conflict_do_nothing()
        )

    async def read(self, run_id: str, step: int, call: int, offset: int, length: int) -> str | None:
        """A part of a result, by characters; None when there is no such result."""
        part = sa.func.substr(_RESULTS.c.content, offset + 1, length)
        keyed = {"tenant_id": self._tenant_id, "run_id": run_id, "step": step, "call": call}
        query = sa.select(part).select_from(_RESULTS).filter_by(**keyed)
        return (await self._connection.execute(query)).scalar_one_or_none()


class FileRows(Repository):
    """See `Files`."""

    async def read(self, run_id: str, path: str) -> bytes | None:
        """A file's content; None when there is none."""
        keyed = {"tenant_id": self._tenant_id, "run_id": run_id, "path": path}
        return (await self._connection.execute(sa.select(_FILES.c.content).filter_by(**keyed))).scalar_one_or_none()

    async def write(self, run_id: str, path: str, content: bytes, now: datetime) -> None:
        """Creates or replaces a file."""
        keyed = {"tenant_id": self._tenant_id, "run_id": run_id, "path": path}
        values = {"content": content, "size": len(content), "updated_at": now}
        statement = insert(_FILES).values({**keyed, **values})
        await self._connection.execute(statement.on_conflict_do_update(index_elements=list(keyed), set_=values))

    async def list(self, run_id: str) -> Sequence[StoredFile]:
        """The files without their content, ordered by path."""
        query = sa.select(_FILES.c.path, _FILES.c.size, _FILES.c.updated_at).where(
            _FILES.c.tenant_id == self._tenant_id, _FILES.c.run_id == run_id
        )
        rows = await self._connection.execute(query.order_by(_FILES.c.path))
        return [StoredFile(row.path, row.size, row.updated_at) for row in rows]


class EventRows(Repository):
    """See `Events`."""

    async def append(self, run_id: str, kind: str, data: Json, now: datetime, *, step: int = 0) -> int:
        """Appends a milestone. The run's row stays locked until the commit, so numbers are committed in order."""
        keyed = {"tenant": self._tenant_id, "run": run_id, "step": step}
        values = {"kind": kind, "content": storable_json(data), "now": now}
        return int((await self._connection.execute(_APPEND, {**keyed, **values})).scalar_one())

    async def after(self, run_id: str, seq: int, most: int) -> Sequence[Event]:
        """Milestones after a number, in order."""
        query = sa.select(_EVENTS).where(
            _EVENTS.c.tenant_id == self._tenant_id, _EVENTS.c.run_id == run_id, _EVENTS.c.seq > seq
        )
        rows = await self._connection.execute(query.order_by(_EVENTS.c.seq).limit(most))
        return [Event(row.seq, row.type, row.data, row.at) for row in rows]
