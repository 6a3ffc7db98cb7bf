"""Repository of transcripts in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.runs import TranscriptRow
from taskforce.core.domain.runs.todo import TODO_TOOL
from taskforce.core.domain.runs.transcript import CallStatus, Entry, EntryKind
from taskforce.core.interfaces.llm import Reasoning, RequestedCall
from taskforce.infrastructure.persistence.connection import DeferredWrite, Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable, storable_json, table, where

_ENTRIES = table(TranscriptRow)
_ORDER = (_ENTRIES.c.step, _ENTRIES.c.call)


_OF_RUN = where(_ENTRIES, "run_id")


def _latest() -> sa.Select[Any]:
    from_step = sa.bindparam("from_step", type_=sa.Integer)
    newest = (
        sa.select(_ENTRIES.c.step)
        .where(_OF_RUN, _ENTRIES.c.step >= from_step)
        .order_by(_ENTRIES.c.step.desc(), _ENTRIES.c.call.desc())
        .limit(sa.bindparam("most", type_=sa.Integer))
        .subquery()
    )
    # Cut at whole steps: providers refuse an observation without the reply that called the tool.
    wanted = _ENTRIES.c.step >= sa.select(sa.func.min(newest.c.step)).scalar_subquery()
    mission = sa.and_(_ENTRIES.c.step == 0, from_step == 0)
    return sa.select(_ENTRIES).where(_OF_RUN, sa.or_(wanted, mission)).order_by(*_ORDER)


def _newest(condition: str) -> Query:
    entries = sa.select(_ENTRIES).where(_OF_RUN, sa.text(condition))
    return Query(entries.order_by(_ENTRIES.c.step.desc(), _ENTRIES.c.call.desc()).limit(1))


_DATA = _ENTRIES.c.data
# Literal, as the partial index `transcript_messages` has it: PostgreSQL would not use it with a parameter.
HOLDS_MESSAGE = sa.text("(transcript.data ->> 'word_id') IS NOT NULL")
_LATEST = Query(_latest())
_WITHIN = _ENTRIES.c.step.between(sa.bindparam("first"), sa.bindparam("last"))
_RANGE = Query(sa.select(_ENTRIES).where(_OF_RUN, _WITHIN).order_by(*_ORDER))
_ENTRY = Query(sa.select(_ENTRIES).where(where(_ENTRIES, "run_id", "step", "call")))
# Literal for the same reason, as the partial indexes `transcript_texts` and `transcript_plans` have them.
_LAST_REPLY = _newest("transcript.kind = 'reply' AND transcript.text <> ''")
_LAST_PLAN = _newest(
    f"transcript.kind = 'observation' AND (transcript.data ->> 'tool') = '{TODO_TOOL}' "
    "AND (transcript.data ->> 'status') = 'succeeded'"
)
_HEARD = Query(
    sa.select(sa.literal(1))
    .where(_OF_RUN, HOLDS_MESSAGE, _DATA["word_id"].astext == sa.bindparam("message", type_=sa.Text))
    .limit(sa.literal(1))
)
_WORDS_BEFORE = Query(
    sa.select(_DATA["word_id"].astext.label("word_id")).where(
        _OF_RUN,
        HOLDS_MESSAGE,
        _ENTRIES.c.step < sa.bindparam("step", type_=sa.Integer),
        _DATA["word_id"].astext == sa.any_(sa.bindparam("words", type_=ARRAY(sa.Text))),
    )
)
_APPEND = DeferredWrite(said=Query(sa.insert(_ENTRIES)))


class TranscriptRepository(Repository):
    """Stores the append-only transcript; fulfils `Transcripts`."""

    async def latest(self, run_id: str, from_step: int, most: int) -> Sequence[Entry]:
        """Returns the latest entries from a step on, in order, from a step's start; from step 0 with the mission."""
        return await self._entries(_LATEST, run_id, from_step=from_step, most=most)

    async def range(self, run_id: str, after_step: int, most_steps: int) -> Sequence[Entry]:
        """Returns the entries of at most `most_steps` steps after one, in order."""
        return await self._entries(_RANGE, run_id, first=after_step + 1, last=after_step + most_steps)

    async def entry(self, run_id: str, step: int, call: int) -> Entry | None:
        """Returns one entry by its key."""
        return await self._newest(_ENTRY, run_id, of_step=step, of_call=call)

    async def last_reply(self, run_id: str) -> Entry | None:
        """Returns the model's latest reply that is not empty."""
        return await self._newest(_LAST_REPLY, run_id)

    async def last_plan(self, run_id: str) -> Entry | None:
        """Returns the latest observation of a plan that was written."""
        return await self._newest(_LAST_PLAN, run_id)

    async def heard(self, run_id: str, message_id: str) -> bool:
        """Returns whether the transcript holds a message, as a message or as an answer."""
        return bool(await self._connection.value(_HEARD, {**self._of(run_id=run_id), "message": message_id}))

    async def words_before(self, run_id: str, step: int, word_ids: Sequence[str]) -> frozenset[str]:
        """Returns, of messages, the ids of those that an earlier step holds, as messages or as answers."""
        values = {**self._of(run_id=run_id), "step": step, "words": list(word_ids)}
        return frozenset(row.word_id for row in await self._connection.all(_WORDS_BEFORE, values))

    async def append(self, run_id: str, entry: Entry) -> Entry:
        """Appends an entry together with waiting writes; returns it as it will be read."""
        row = _row(entry)
        await self._connection.later(_APPEND, {"tenant_id": self._tenant_id, "run_id": run_id, **row})
        return _entry(row)

    async def _entries(self, query: Query, run_id: str, **values: object) -> list[Entry]:
        return [_entry(row) for row in await self._connection.all(query, {**self._of(run_id=run_id), **values})]

    async def _newest(self, query: Query, run_id: str, **values: object) -> Entry | None:
        row = await self._connection.first(query, {**self._of(run_id=run_id), **values})
        return None if row is None else _entry(row)


def _row(entry: Entry) -> dict[str, object]:
    data = {
        "author_id": entry.author_id,
        "word_id": entry.word_id,
        "tool_calls": [[call.id, call.name, call.arguments] for call in entry.tool_calls],
        "tool": entry.tool,
        "tool_call_id": entry.tool_call_id,
        "status": entry.status,
        "duration_ms": entry.duration_ms,
        "whole_size": entry.whole_size,
        "reasoning": entry.reasoning and [entry.reasoning.model, entry.reasoning.field, entry.reasoning.text],
        "finish": None if entry.finish == "stop" else entry.finish,
        "dropped": entry.dropped or None,
    }
    return {
        "step": entry.step,
        "call": entry.call,
        "kind": entry.kind.value,
        "text": storable(entry.text),
        "data": storable_json({name: value for name, value in data.items() if value is not None and value != []}),
        "at": entry.at,
    }


def _entry(row: Row | Mapping[str, Any]) -> Entry:
    data = row["data"]
    status, reasoning = data.get("status"), data.get("reasoning")
    return Entry(
        step=row["step"],
        call=row["call"],
        kind=EntryKind(row["kind"]),
        text=row["text"],
        at=row["at"],
        author_id=data.get("author_id"),
        tool_calls=tuple(RequestedCall(*call) for call in data.get("tool_calls", ())),
        tool=data.get("tool"),
        tool_call_id=data.get("tool_call_id"),
        status=CallStatus(status) if status else None,
        duration_ms=data.get("duration_ms"),
        whole_size=data.get("whole_size"),
        reasoning=Reasoning(*reasoning) if reasoning else None,
        finish=data.get("finish", "stop"),
        dropped=data.get("dropped", 0),
        word_id=data.get("word_id"),
    )
