"""Transcripts in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.runs import TranscriptRow
from taskforce.core.domain.transcript import CallStatus, Entry, EntryKind
from taskforce.core.interfaces.llm import RequestedCall
from taskforce.infrastructure.persistence.rows import Repository, storable, storable_json, table

_ENTRIES = table(TranscriptRow)
_ORDER = (_ENTRIES.c.step, _ENTRIES.c.call)


def _latest() -> sa.Select[Any]:
    of_run = (_ENTRIES.c.tenant_id == sa.bindparam("tenant"), _ENTRIES.c.run_id == sa.bindparam("run"))
    from_step = sa.bindparam("from_step", type_=sa.Integer)
    newest = (
        sa.select(_ENTRIES.c.step)
        .where(*of_run, _ENTRIES.c.step >= from_step)
        .order_by(_ENTRIES.c.step.desc(), _ENTRIES.c.call.desc())
        .limit(sa.bindparam("most", type_=sa.Integer))
        .subquery()
    )
    # Whole steps: an observation without the reply that asked for it is no conversation.
    wanted = _ENTRIES.c.step >= sa.select(sa.func.min(newest.c.step)).scalar_subquery()
    mission = sa.and_(_ENTRIES.c.step == 0, from_step == 0)
    return sa.select(_ENTRIES).where(*of_run, sa.or_(wanted, mission)).order_by(*_ORDER)


# Made once: making and hashing a statement takes longer than sending it.
_LATEST = _latest()
_ADD = insert(_ENTRIES).on_conflict_do_nothing()


class TranscriptRows(Repository):
    """See `Transcripts`."""

    async def latest(self, run_id: str, from_step: int, most: int) -> Sequence[Entry]:
        """The latest entries from a step on, in order, the first of them whole; with `from_step` 0 the mission too."""
        values = {"tenant": self._tenant_id, "run": run_id, "from_step": from_step, "most": most}
        return [_entry(row) for row in await self._connection.execute(_LATEST, values)]

    async def range(self, run_id: str, after_step: int, most_steps: int) -> Sequence[Entry]:
        """The entries of at most `most_steps` steps after one, in order."""
        within = _ENTRIES.c.step.between(after_step + 1, after_step + most_steps)
        return await self._entries(sa.select(_ENTRIES).where(*self._of(run_id), within).order_by(*_ORDER))

    async def entry(self, run_id: str, step: int, call: int) -> Entry | None:
        """One entry by its key."""
        keyed = (_ENTRIES.c.step == step, _ENTRIES.c.call == call)
        found = await self._entries(sa.select(_ENTRIES).where(*self._of(run_id), *keyed))
        return found[0] if found else None

    async def last_reply(self, run_id: str) -> Entry | None:
        """The model's latest reply that says anything."""
        said = (_ENTRIES.c.kind == EntryKind.REPLY.value, _ENTRIES.c.text != "")
        replies = sa.select(_ENTRIES).where(*self._of(run_id), *said)
        found = await self._entries(replies.order_by(_ENTRIES.c.step.desc()).limit(1))
        return found[0] if found else None

    async def last_of_tool(self, run_id: str, tool: str) -> Entry | None:
        """The latest observation of a tool's call that succeeded."""
        data = _ENTRIES.c.data
        succeeded = (
            _ENTRIES.c.kind == EntryKind.OBSERVATION.value,
            data["tool"].astext == tool,
            data["status"].astext == CallStatus.SUCCEEDED.value,
        )
        newest = sa.select(_ENTRIES).where(*self._of(run_id), *succeeded)
        found = await self._entries(newest.order_by(_ENTRIES.c.step.desc(), _ENTRIES.c.call.desc()).limit(1))
        return found[0] if found else None

    async def heard(self, run_id: str, author_id: str, text: str) -> bool:
        """Whether a person's word is in the transcript."""
        word = (
            _ENTRIES.c.kind == EntryKind.WORD.value,
            _ENTRIES.c.text == storable(text),
            _ENTRIES.c.data["author_id"].astext == author_id,
        )
        return bool(await self._entries(sa.select(_ENTRIES).where(*self._of(run_id), *word).limit(1)))

    async def add(self, run_id: str, entries: Sequence[Entry]) -> int:
        """Appends entries; one whose key exists is left as it is."""
        new = 0
        for entry in entries:
            row = {"tenant_id": self._tenant_id, "run_id": run_id, **_row(entry)}
            new += int(getattr(await self._connection.execute(_ADD, row), "rowcount", 0))
        return new

    def _of(self, run_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return _ENTRIES.c.tenant_id == self._tenant_id, _ENTRIES.c.run_id == run_id

    async def _entries(self, query: sa.Select[Any]) -> list[Entry]:
        return [_entry(row) for row in await self._connection.execute(query)]


def _row(entry: Entry) -> dict[str, object]:
    data = {
        "author_id": entry.author_id,
        "tool_calls": [[call.id, call.name, call.arguments] for call in entry.tool_calls],
        "tool": entry.tool,
        "tool_call_id": entry.tool_call_id,
        "status": entry.status,
        "duration_ms": entry.duration_ms,
        "whole_size": entry.whole_size,
    }
    return {
        "step": entry.step,
        "call": entry.call,
        "kind": entry.kind.value,
        "text": storable(entry.text),
        "data": storable_json({name: value for name, value in data.items() if value is not None and value != []}),
        "at": entry.at,
    }


def _entry(row: Any) -> Entry:  # noqa: ANN401 - SQLAlchemy rows are untyped
    data = row.data
    status = data.get("status")
    return Entry(
        step=row.step,
        call=row.call,
        kind=EntryKind(row.kind),
        text=row.text,
        at=row.at,
        author_id=data.get("author_id"),
        tool_calls=tuple(RequestedCall(*call) for call in data.get("tool_calls", ())),
        tool=data.get("tool"),
        tool_call_id=data.get("tool_call_id"),
        status=CallStatus(status) if status else None,
        duration_ms=data.get("duration_ms"),
        whole_size=data.get("whole_size"),
    )
