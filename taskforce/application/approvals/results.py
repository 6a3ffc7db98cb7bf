"""What came of a request, for who asked for it: had by nobody else, and erased when its time is over."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from taskforce.application.approvals.decisions import found
from taskforce.application.approvals.execution import CARRIED_OUT
from taskforce.application.approvals.history import HistoryEvent, record_event
from taskforce.application.identity.principals import Actor
from taskforce.application.sweeps import iter_tenants
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.records import Request, RequestResult
from taskforce.core.domain.errors import Conflict, Forbidden
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.store import Records, Store, Tenants

ERASE_BATCH = 200
"""Pieces that one transaction erases at most."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Download:
    """A result that its requester may have."""

    tenant_id: str
    result: RequestResult


async def begin_download(store: Store, actor: Actor, request_id: str) -> Download:
    """Finds what came of a request, and records that its requester takes it.

    Args:
        store: The door to the data.
        actor: Who asks; that they may know of the request, the caller has checked.
        request_id: The request.

    Raises:
        Missing: `request_not_found`; `result_not_found`: somebody else, or another key, has asked for it, nothing comes
            of it to be had, or it is kept no longer.
        Conflict: `not_approved`; `result_not_ready`: it is still being made.
    """
    tenant_id = actor.principal.tenant.tenant_id
    async with store.tenant(tenant_id) as records:
        request = await found(records, request_id)
        if not _asked_by(request, actor):
            raise missing("result")
        result = await _result(records, request, actor.now)
        told = HistoryEvent("downloaded", actor.principal.user.user_id, actor.now, channel="api")
        await record_event(records, request, _by(actor, told))
    return Download(tenant_id, result)


async def pieces(
    store: Store, download: Download, may_go_on: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bytes, None]:
    """What came of a request, piece by piece.

    Args:
        store: The door to the data.
        download: What is taken.
        may_go_on: Asked before each piece: the reader's rights may end before a long download does.

    Raises:
        Forbidden: `download_ended`: the reader may not read on.
        Missing: `result_not_found`: it was erased in the meantime.
    """
    for number in range(1, download.result.pieces + 1):
        if not await may_go_on():
            raise Forbidden("download_ended", "Whoever asked for this may not read on.")
        async with store.tenant(download.tenant_id) as records:
            content = await records.request_results.piece(download.result.request_id, number)
        if content is None:
            raise missing("result")
        yield content


async def erase_old_results(store: Store, tenant_id: str, now: datetime) -> int:
    """Erases the results of one tenant that are kept no longer; that it was done stands in each request's history.

    Returns:
        How many requests' results went.
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


async def erase_all_old_results(platform: Tenants, store: Store, now: datetime) -> int:
    """Erases what is kept no longer of all tenants; one that fails is told to the process's log.

    Returns:
        How many requests' results went.
    """
    total = 0
    async for tenant in iter_tenants(platform, now):
        try:
            total += await erase_old_results(store, tenant.tenant_id, now)
        except Exception as error:  # noqa: BLE001 - whatever befalls one tenant's results, those of the others go
            _log.error("results.not_erased", tenant_id=tenant.tenant_id, error=type(error).__name__)
    return total


def _asked_by(request: Request, actor: Actor) -> bool:
    """Whether it is the requester who asks; an API key of theirs has only what it has asked for itself."""
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


def _by(actor: Actor, told: HistoryEvent) -> HistoryEvent:
    return replace(told, request_id=actor.request_id, key_id=actor.principal.key_id)
