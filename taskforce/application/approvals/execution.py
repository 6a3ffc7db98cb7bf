"""Execution of approved requests: done once, and recorded in the request's history with its outcome."""

from collections.abc import Mapping
from typing import Final

from taskforce.application.approvals.decisions import found, locked
from taskforce.application.approvals.handler import DefaultHandler, RequestHandler
from taskforce.application.approvals.history import HistoryEvent, record_event
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import MAY_PASS, Conflict, DomainError
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.workflows import RunSignals

CARRIED_OUT: Final = "carried_out"
"""The unique name of the history entry of the execution, whether it succeeded or was refused."""


class ApprovalExecution:
    """Use case of the activity `carry_out_request`.

    Args:
        store: The tenants' data.
        clock: The time, UTC.
        handlers: The handlers of requests by request type.
        runs: Sends signals to runs.
        live: Notifies watchers of runs.
    """

    def __init__(
        self, store: Store, clock: Clock, handlers: Mapping[str, RequestHandler], runs: RunSignals, live: Live
    ) -> None:
        self._store = store
        self._clock = clock
        self._handlers = handlers
        self._runs = runs
        self._live = live

    async def carry_out(self, tenant_id: str, request_id: str) -> str | None:
        """Executes an approved request, once; a retry returns the recorded outcome.

        Returns:
            The outcome, as text for the history; None where the request type has no execution.

        Raises:
            Missing: `request_not_found`.
            Conflict: `not_approved`.
            DomainError: A passing error (`MAY_PASS`), after which the activity is to be retried.
        """
        async with self._store.tenant(tenant_id) as records:
            request = await found(records, request_id)
            comment = await _comment(records, request_id)
        if request.status is not ApprovalStatus.APPROVED:
            raise Conflict("not_approved", "Only what was approved is carried out.")
        handler = self._handlers.get(request.request_type) or DefaultHandler()
        if comment is None:
            try:
                comment = await self._do(tenant_id, request, handler)
            except DomainError as error:
                if error.kind in MAY_PASS:
                    raise
                return await self._refuse(tenant_id, request, error)
        # Also after a recorded outcome: the attempt that recorded it may have died before it sent the notifications.
        await handler.notify(self._store, tenant_id, request, self._runs, self._live)
        return comment

    async def _do(self, tenant_id: str, request: Request, handler: RequestHandler) -> str | None:
        await handler.prepare(self._store, tenant_id, request, self._clock)
        request_id, now = request.approval.request_id, self._clock()
        async with self._store.tenant(tenant_id) as records:
            # The outcome is read again under the lock: another attempt may have recorded it since.
            current = await locked(records, request_id)
            comment = await _comment(records, request_id)
            if comment is not None:
                return comment
            done = await handler.apply(records, current, now)
            if done is not None:
                await record_event(
                    records, current, HistoryEvent(CARRIED_OUT, "system", now, name=CARRIED_OUT, comment=done)
                )
            return done

    async def _refuse(self, tenant_id: str, request: Request, error: DomainError) -> str:
        now, comment = self._clock(), f"It was not carried out: {error.message}"
        async with self._store.tenant(tenant_id) as records:
            current = await locked(records, request.approval.request_id)
            refused = HistoryEvent(
                "not_carried_out",
                "system",
                now,
                name=CARRIED_OUT,
                comment=comment,
                outcome="denied",
                reason=error.code,
                data={"code": error.code},
            )
            await record_event(records, current, refused)
            # Not simply the comment: another attempt may have recorded its outcome first, and that one counts.
            return await _comment(records, request.approval.request_id) or comment


async def _comment(records: Records, request_id: str) -> str | None:
    happening = await records.requests.happening(request_id, CARRIED_OUT)
    return None if happening is None else happening.comment
