"""Repository of results of approved requests, which are kept for a time, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.approval_results import RequestResultPieceRow, RequestResultRow
from models.tables.columns import TIME
from taskforce.core.domain.approvals.records import RequestResult
from taskforce.core.domain.json_limits import Json
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable, storable_json, table, where

_RESULTS, _PIECES = table(RequestResultRow), table(RequestResultPieceRow)
_BEGIN = Query(insert(_RESULTS).on_conflict_do_nothing())
_GET = sa.select(_RESULTS).where(where(_RESULTS, "request_id"))
_READ, _LOCK = Query(_GET), Query(_GET.with_for_update())
_ADD = Query(sa.insert(_PIECES))
_ADDED = Query(sa.update(_RESULTS).where(where(_RESULTS, "request_id")), sets=("pieces", "size", "state"))
_FINISH = Query(sa.update(_RESULTS).where(where(_RESULTS, "request_id")), sets=("finished_at", "kept_until"))
_PIECE = Query(sa.select(_PIECES.c.content).where(where(_PIECES, "request_id", "number")))
_NOW, _MOST = sa.bindparam("now", type_=TIME), sa.bindparam("most", type_=sa.Integer())
_OVER = _RESULTS.c.kept_until <= _NOW
_OF_RESULT = sa.and_(_PIECES.c.tenant_id == _RESULTS.c.tenant_id, _PIECES.c.request_id == _RESULTS.c.request_id)
_KEY = (_PIECES.c.tenant_id, _PIECES.c.request_id, _PIECES.c.number)
_OLD_PIECES = sa.select(*_KEY).join(_RESULTS, _OF_RESULT).where(where(_RESULTS), _OVER).limit(_MOST)
_ERASE_PIECES = Query(sa.delete(_PIECES).where(sa.tuple_(*_KEY).in_(_OLD_PIECES)))
# A batch may end in the middle of a result, whose row stays until its last piece is gone.
_EMPTY = ~sa.exists().where(_OF_RESULT)
_ERASE = Query(sa.delete(_RESULTS).where(where(_RESULTS), _OVER, _EMPTY).returning(_RESULTS.c.request_id))


class RequestResultRepository(Repository):
    """Stores requests' downloadable results in pieces; fulfils `RequestResults`."""

    async def begin(self, result: RequestResult) -> bool:
        """Adds a result without a piece; False when the request has one already."""
        values = {
            "tenant_id": self._tenant_id,
            "request_id": result.request_id,
            "media_type": result.media_type,
            "file_name": storable(result.file_name),
            "begun_at": result.begun_at,
            "kept_until": result.kept_until,
            "state": storable_json(result.state),
            "pieces": 0,
            "size": 0,
            "finished_at": None,
        }
        return await self._connection.change(_BEGIN, values) > 0

    async def get(self, request_id: str) -> RequestResult | None:
        """Returns the state of a request's result."""
        return await self._one(_READ, request_id)

    async def locked(self, request_id: str) -> RequestResult | None:
        """Returns the state as `get` does, locked until this transaction ends."""
        return await self._one(_LOCK, request_id)

    async def _one(self, query: Query, request_id: str) -> RequestResult | None:
        row = await self._connection.first(query, self._of(request_id=request_id))
        return None if row is None else _result(row)

    async def add(self, result: RequestResult, content: bytes, state: Json) -> None:
        """Adds the next piece to a result that was read `locked`, and stores the progress."""
        number = result.pieces + 1
        piece = {"tenant_id": self._tenant_id, "request_id": result.request_id, "number": number, "content": content}
        await self._connection.change(_ADD, piece)
        so_far = {"pieces": number, "size": result.size + len(content), "state": storable_json(state)}
        await self._connection.change(_ADDED, {**self._of(request_id=result.request_id), **so_far})

    async def finish(self, request_id: str, now: datetime, kept_until: datetime) -> None:
        """Marks a result as complete, and stores how long it is kept."""
        values = {"finished_at": now, "kept_until": kept_until}
        await self._connection.change(_FINISH, {**self._of(request_id=request_id), **values})

    async def piece(self, request_id: str, number: int) -> bytes | None:
        """Returns one piece, numbered from 1."""
        found: bytes | None = await self._connection.value(_PIECE, self._of(request_id=request_id, number=number))
        return found

    async def erase(self, now: datetime, most: int) -> tuple[int, Sequence[str]]:
        """Erases expired results, a bounded number of pieces at a time."""
        pieces = await self._connection.change(_ERASE_PIECES, {**self._of(), "now": now, "most": most})
        gone = await self._connection.all(_ERASE, {**self._of(), "now": now})
        return pieces, [row.request_id for row in gone]


def _result(row: Row) -> RequestResult:
    return RequestResult(
        request_id=row.request_id,
        media_type=row.media_type,
        file_name=row.file_name,
        begun_at=row.begun_at,
        kept_until=row.kept_until,
        state=row.state,
        pieces=row.pieces,
        size=row.size,
        finished_at=row.finished_at,
    )
