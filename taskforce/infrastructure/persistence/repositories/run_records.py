"""Repositories of a run's messages, effects, whole results, files and events, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from models.tables.runs import RunEffectRow, RunEventRow, RunFileRow, RunResultRow, RunRow, RunWordRow, TranscriptRow
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.runs.records import Event
from taskforce.core.interfaces.repositories.runs import UntoldMessage
from taskforce.core.interfaces.tools import StoredFile
from taskforce.infrastructure.persistence.connection import DeferredWrite, Query
from taskforce.infrastructure.persistence.repositories.transcripts import HOLDS_MESSAGE
from taskforce.infrastructure.persistence.repository import Repository, storable, storable_json, table, where

_WORDS, _EFFECTS, _RESULTS = table(RunWordRow), table(RunEffectRow), table(RunResultRow)
_FILES, _EVENTS, _RUNS = table(RunFileRow), table(RunEventRow), table(RunRow)
_ENTRIES = table(TranscriptRow)
INT = sa.Integer()


def milestone(of_run: sa.Update, sets: Sequence[str] = ()) -> DeferredWrite:
    """Builds a change of a run's row with a milestone: parameters `kind`, `content`, `now` and those of `sets`.

    Args:
        of_run: The change; where it finds no row, no milestone is appended.
        sets: As of a `Query`.
    """
    key = (_RUNS.c.tenant_id, _RUNS.c.run_id, _RUNS.c.event_seq)
    counted = of_run.values(event_seq=_RUNS.c.event_seq + 1).returning(*key)
    found = sa.table("counted", *(sa.column(column.name, column.type) for column in key))
    content = {"type": "kind", "data": "content", "at": "now"}
    said = (sa.bindparam(name, type_=_EVENTS.c[column].type) for column, name in content.items())
    appended = sa.insert(_EVENTS).from_select(["tenant_id", "run_id", "seq", *content], sa.select(*found.c, *said))
    return DeferredWrite(updates="run", counted=Query(counted, sets), appended=Query(appended))


def _append() -> DeferredWrite:
    # A late retry of an earlier step must not set the run's count back.
    step = sa.func.greatest(_RUNS.c.steps, sa.bindparam("step", type_=_RUNS.c.steps.type))
    return milestone(sa.update(_RUNS).where(where(_RUNS, "run_id")).values(steps=step))


def _write() -> sa.ClauseElement:
    adding = insert(_FILES)
    changed = {name: adding.excluded[name] for name in ("content", "size", "updated_at")}
    return adding.on_conflict_do_update(index_elements=["tenant_id", "run_id", "path"], set_=changed)


_ADD_MESSAGE, _BEGIN, _ADD_RESULT = (
    Query(insert(one).on_conflict_do_nothing()) for one in (_WORDS, _EFFECTS, _RESULTS)
)
_OBSERVED = sa.exists().where(
    *(_ENTRIES.c[name] == _EFFECTS.c[name] for name in ("tenant_id", "run_id", "step", "call"))
)
_UNSETTLED = Query(
    sa.select(_EFFECTS.c.step, _EFFECTS.c.call)
    .where(where(_EFFECTS, "run_id"), ~_OBSERVED)
    .order_by(_EFFECTS.c.step, _EFFECTS.c.call)
)
_NAMED = _WORDS.c.word_id == sa.any_(sa.bindparam("ids", type_=ARRAY(_WORDS.c.word_id.type)))
_GET_MESSAGES = Query(sa.select(_WORDS).where(where(_WORDS, "run_id"), _NAMED))
# By the message alone: the index of untold messages has no run.
_UNTOLD = sa.and_(where(_WORDS, "word_id"), _WORDS.c.told_at.is_(None))
_GET_UNTOLD = Query(sa.select(_WORDS.c.run_id, _WORDS.c.question_id).where(_UNTOLD))
_TELL = Query(sa.update(_WORDS).where(_UNTOLD).values(told_at=sa.bindparam("now", type_=_WORDS.c.told_at.type)))
_IN_TRANSCRIPT = sa.exists().where(
    *(_ENTRIES.c[name] == _WORDS.c[name] for name in ("tenant_id", "run_id")),
    HOLDS_MESSAGE,
    _ENTRIES.c.data["word_id"].astext == sa.cast(_WORDS.c.word_id, sa.Text),
)
_UNHEARD = Query(
    sa.select(_WORDS.c.word_id)
    .where(where(_WORDS, "run_id"), ~_IN_TRANSCRIPT)
    .order_by(_WORDS.c.at, _WORDS.c.word_id)
    .limit(sa.bindparam("most", type_=INT))
)
_ANSWERS = Query(sa.select(_WORDS).where(where(_WORDS, "run_id"), _WORDS.c.question_id.is_not(None)))
_PART = sa.func.substr(_RESULTS.c.content, sa.bindparam("first", type_=INT), sa.bindparam("length", type_=INT))
_READ_RESULT = Query(sa.select(_PART).where(where(_RESULTS, "run_id", "step", "call")))
_READ_FILE = Query(sa.select(_FILES.c.content).where(where(_FILES, "run_id", "path")))
_WRITE_FILE = Query(_write())
_LISTED = sa.select(_FILES.c.path, _FILES.c.size, _FILES.c.updated_at).order_by(_FILES.c.path)
_LIST_FILES = Query(_LISTED.where(where(_FILES, "run_id")))
_APPEND = _append()
_LATER = sa.select(_EVENTS).where(where(_EVENTS, "run_id"), _EVENTS.c.seq > sa.bindparam("seq"))
_AFTER = Query(_LATER.order_by(_EVENTS.c.seq).limit(sa.bindparam("most", type_=INT)))


class MessageRepository(Repository):
    """Stores people's messages to a run, before they enter the transcript; fulfils `Messages`."""

    async def add(
        self, run_id: str, message_id: str, author_id: str, text: str, now: datetime, *, question: str | None = None
    ) -> None:
        """Stores a message until the model reads it, or the tool whose question it answers."""
        message = {"author_id": author_id, "text": storable(text), "at": now, "question_id": question}
        untold = {"told_at": None, "sweep_at": now}
        await self._connection.change(
            _ADD_MESSAGE, {"tenant_id": self._tenant_id, "run_id": run_id, "word_id": message_id, **message, **untold}
        )

    async def untold(self, message_id: str) -> UntoldMessage | None:
        """Returns a message of which its run may not have been told; None where it was told."""
        row = await self._connection.first(_GET_UNTOLD, self._of(word_id=message_id))
        return None if row is None else UntoldMessage(row.run_id, row.question_id)

    async def told(self, message_id: str, now: datetime) -> None:
        """Marks a message as one of which its run was told."""
        await self._connection.change(_TELL, {**self._of(word_id=message_id), "now": now})

    async def unheard(self, run_id: str, most: int) -> Sequence[str]:
        """Returns the ids of stored messages that the transcript does not hold, oldest first."""
        rows = await self._connection.all(_UNHEARD, {**self._of(run_id=run_id), "most": most})
        return [row.word_id for row in rows]

    async def answers(self, run_id: str) -> Mapping[str, str]:
        """Returns the messages that answer a question, by the question's id."""
        rows = await self._connection.all(_ANSWERS, self._of(run_id=run_id))
        return {row.question_id: row.word_id for row in rows}

    async def get(self, run_id: str, message_ids: Sequence[str]) -> Sequence[tuple[str, str, str]]:
        """Returns (id, author, text) in the order of the ids; unknown ids are left out."""
        rows = await self._connection.all(_GET_MESSAGES, {**self._of(run_id=run_id), "ids": list(message_ids)})
        found = {row.word_id: (row.word_id, row.author_id, row.text) for row in rows}
        return [found[word_id] for word_id in message_ids if word_id in found]

    async def unnamed(self, run_id: str, message_ids: Sequence[str], since: datetime | None) -> Sequence[str]:
        """Returns the ids, in their order, of messages without a question that were not stored before a time."""
        rows = await self._connection.all(_GET_MESSAGES, {**self._of(run_id=run_id), "ids": list(message_ids)})
        found = {row.word_id for row in rows if row.question_id is None and (since is None or row.at >= since)}
        return [message_id for message_id in message_ids if message_id in found]


class EffectRepository(Repository):
    """Stores marks of effects that must not happen twice; fulfils `Effects`."""

    async def begin(self, run_id: str, step: int, call: int, tool: str, now: datetime) -> bool:
        """Marks the start of an effect; False when it was marked before."""
        values = {"run_id": run_id, "step": step, "call": call, "tool": storable(tool), "at": now}
        return await self._connection.change(_BEGIN, {"tenant_id": self._tenant_id, **values}) > 0

    async def unsettled(self, run_id: str) -> Sequence[tuple[int, int]]:
        """Returns (step, call) of begun calls without an observation, in their order."""
        rows = await self._connection.all(_UNSETTLED, self._of(run_id=run_id))
        return [(row.step, row.call) for row in rows]


class ResultRepository(Repository):
    """Stores results that are too large for the transcript; fulfils `WholeResults`."""

    async def add(self, run_id: str, step: int, call: int, content: str) -> None:
        """Stores a whole result, once."""
        values = {"run_id": run_id, "step": step, "call": call, "content": storable(content)}
        await self._connection.change(_ADD_RESULT, {"tenant_id": self._tenant_id, **values})

    async def read(self, run_id: str, step: int, call: int, offset: int, length: int) -> str | None:
        """Returns a part of a result, by characters; None when there is no such result."""
        keyed = self._of(run_id=run_id, step=step, call=call)
        part: str | None = await self._connection.value(_READ_RESULT, {**keyed, "first": offset + 1, "length": length})
        return part


class FileRepository(Repository):
    """Stores files of runs' workspaces; fulfils `Files`."""

    async def read(self, run_id: str, path: str) -> bytes | None:
        """Returns a file's content; None when there is none."""
        content: bytes | None = await self._connection.value(_READ_FILE, self._of(run_id=run_id, path=path))
        return content

    async def write(self, run_id: str, path: str, content: bytes, now: datetime) -> None:
        """Creates or replaces a file."""
        keyed = {"tenant_id": self._tenant_id, "run_id": run_id, "path": path}
        values = {"content": content, "size": len(content), "updated_at": now}
        await self._connection.change(_WRITE_FILE, {**keyed, **values})

    async def list(self, run_id: str) -> Sequence[StoredFile]:
        """Returns the files without their content, ordered by path."""
        rows = await self._connection.all(_LIST_FILES, self._of(run_id=run_id))
        return [StoredFile(row.path, row.size, row.updated_at) for row in rows]


class EventRepository(Repository):
    """Stores durable milestones; fulfils `Events`."""

    async def append(self, run_id: str, kind: str, data: Json, now: datetime, *, step: int = 0) -> None:
        """Appends a milestone. The run's row is locked until the commit, so numbers are committed in order."""
        values = {"step": step, "kind": kind, "content": storable_json(data), "now": now}
        await self._connection.later(_APPEND, {**self._of(run_id=run_id), **values})

    async def after(self, run_id: str, seq: int, most: int) -> Sequence[Event]:
        """Returns milestones after a number, in order."""
        rows = await self._connection.all(_AFTER, {**self._of(run_id=run_id), "seq": seq, "most": most})
        return [Event(row.seq, row.type, row.data, row.at) for row in rows]
