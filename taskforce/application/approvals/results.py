"""Results of executed requests: downloaded by their requester only, and erased when their retention ends."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from taskforce.application.approvals.decisions import found
from taskforce.application.approvals.execution import CARRIED_OUT
from taskforce.application.approvals.history import HistoryEvent, record_event
from taskforce.application.identity.principals import Actor
from taskforce.application.sweeps import expired_tenants
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.records import Request, RequestResult
from taskforce.core.domain.errors import Conflict, Forbidden
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows
from taskforce.core.interfaces.store import Records, Store

ERASE_BATCH = 200
"""Pieces that one transaction erases, at most."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Download:
    """A result to be downloaded.

    Attributes:
        tenant_id: The tenant.
        result: The result, without its content.
    """

    tenant_id: str
    result: RequestResult


async def begin_download(store: Store, actor: Actor, request_id: str) -> Download:
    """Finds the result of a request, and records the download.

    Args:
        store: The tenants' data.
        actor: The caller; it was checked that the request is visible to them.
        request_id: The request.

    Raises:
        Missing: `request_not_found`; `result_not_found`: the requester is another user or used another API key, the
            request type has no result, or its retention has ended.
        Conflict: `not_approved`; `result_not_ready`: it is still being written.
    """
    tenant_id = actor.principal.tenant.tenant_id
    async with store.tenant(tenant_id) as records:
        request = await found(records, request_id)
        if not _asked_by(request, actor):
            raise missing("result")
        result = await _result(records, request, actor.now)
        event = HistoryEvent("downloaded", actor.principal.user.user_id, actor.now, channel="api")
        await record_event(records, request, _by(actor, event))
    return Download(tenant_id, result)


async def pieces(
    store: Store, download: Download, may_go_on: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bytes, None]:
    """Yields the content of a result, piece by piece.

    Args:
        store: The tenants' data.
        download: The result.
        may_go_on: Called before each piece, for the reader's rights may end during a long download.

    Raises:
        Forbidden: `download_ended`: the reader has lost the right.
        Missing: `result_not_found`: it was erased meanwhile.
    """
    for number in range(1, download.result.pieces + 1):
        if not await may_go_on():
            raise Forbidden("download_ended", "Whoever asked for this may not read on.")
        async with store.tenant(download.tenant_id) as records:
            # A transaction for each piece: a slow reader must not keep one open for the whole download.
            content = await records.request_results.piece(download.result.request_id, number)
        if content is None:
            raise missing("result")
        yield content


async def erase_old_results(store: Store, tenant_id: str, now: datetime) -> int:
    """Erases the expired results of a tenant, and records it in the history of each request.

    Returns:
        The number of requests whose result was erased.
    """
    total = 0
    while True:
        async with store.tenant(tenant_id) as records:
            erased, gone = await records.request_results.erase(now, ERASE_BATCH)
            for request_id in gone:
                request = await found(records, request_id)
                await record_event(records, request, HistoryEvent("result_erased", "system", now, name="result_erased"))
        total += len(gone)
        if erased < ERASE_BATCH:
            return total


async def erase_all_old_results(rows: ExpiredRows, store: Store, now: datetime) -> int:
    """Erases the expired results of all tenants; one that fails is logged, and the others go on.

    A tenant without any is not visited.

    Returns:
        The number of requests whose result was erased.
    """
    total = 0
    for tenant_id in await expired_tenants(rows, ExpiredKind.RESULT, now):
        try:
            total += await erase_old_results(store, tenant_id, now)
        except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the results of others
            _log.error("results.not_erased", tenant_id=tenant_id, error=type(error).__name__)
    return total


def _asked_by(request: Request, actor: Actor) -> bool:
    """Tells whether the actor is the requester; an API key downloads only results of requests that it made itself."""
    own = request.approval.requester_id == actor.principal.user.user_id
    return own and actor.principal.key_id in (None, request.key_id)


async def _result(records: Records, request: Request, now: datetime) -> RequestResult:
    if request.status is not ApprovalStatus.APPROVED:
        raise Conflict("not_approved", "There is a result once the request is approved.")
    if await records.requests.happening(request.approval.request_id, CARRIED_OUT) is None:
        raise Conflict("result_not_ready", "What was approved is not done yet. Ask again a little later.")
    result = await records.request_results.get(request.approval.request_id)
    if result is None or result.finished_at is None or result.kept_until <= now:
        raise missing("result")
    return result


def _by(actor: Actor, event: HistoryEvent) -> HistoryEvent:
    return replace(event, request_id=actor.request_id, key_id=actor.principal.key_id)
