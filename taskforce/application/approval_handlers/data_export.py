"""Handler of data exports: written piece by piece, and kept for the requester for seven days.

The requester need not have the permission to read the data: that is what the approval is for. Each piece is stored with
the export's position in one transaction, so that a killed worker continues where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from taskforce.application.approvals.handler import DefaultHandler
from taskforce.application.approvals.payload_schemas import payload_problems, refuse_payload
from taskforce.application.audit.events import system_event
from taskforce.application.audit.export import Export, next_page
from taskforce.application.audit.sealing import seal_tenant
from taskforce.application.identity.principals import load_principal_for_key
from taskforce.core.domain.approvals.records import Request, RequestResult
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.ids import missing
from taskforce.core.domain.json_limits import Json, moment
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Records, Store

KEPT: Final = timedelta(days=7)
"""The retention of a result."""
MEDIA_TYPE: Final = "application/x-ndjson"
SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["what"],
    "properties": {
        "what": {"enum": ["audit"]},
        "from": {"type": "string", "maxLength": 64},
        "to": {"type": "string", "maxLength": 64},
    },
}


@dataclass(frozen=True, slots=True)
class _ExportOrder:
    """The exported period; None is no bound."""

    since: datetime | None
    until: datetime | None


class DataExportHandler(DefaultHandler):
    """Handler of data exports.

    Args:
        rules: The deployment's access rules.
    """

    def __init__(self, rules: AccessRules) -> None:
        self._rules = rules

    async def validate(self, records: Records, payload: Json, now: datetime) -> Json:
        """Requires a known kind of export and a valid period.

        Raises:
            Invalid: `payload_invalid`.
        """
        refuse_payload(_problems(payload))
        return payload

    async def prepare(self, store: Store, tenant_id: str, request: Request, clock: Clock) -> None:
        """Writes the export, piece by piece, from the stored position.

        Raises:
            Invalid: `payload_invalid`: a request from before such payloads were validated.
            Forbidden: As `load_principal_for_key` for the requester.
            Conflict: `audit_dropped`: retention has dropped events that were still to be exported.
        """
        order, now = _order(request.payload), clock()
        if await self._begin(store, tenant_id, request, now):
            await seal_tenant(store, tenant_id)
        while await _write(store, tenant_id, request, order):
            continue

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Releases the export to the requester, and starts its retention.

        Raises:
            Missing: `result_not_found`.
            Forbidden: As `prepare`.
        """
        await load_principal_for_key(records, request.approval.requester_id, request.key_id, self._rules, now)
        request_id, until = request.approval.request_id, now + KEPT
        result = await records.request_results.locked(request_id)
        if result is None:
            raise missing("result")
        await records.request_results.finish(request_id, now, until)
        begin, end = (Anchor.parse(str(result.state[name])) for name in ("begin", "end"))
        kept = until.isoformat(timespec="seconds")
        return f"{end.seq - begin.seq} audit events were exported, {result.size} bytes, to be had until {kept}."

    async def _begin(self, store: Store, tenant_id: str, request: Request, now: datetime) -> bool:
        """Creates the result, and audits the export before the log is sealed, so that the export contains that event.

        Returns:
            Whether the log is still to be sealed: False once the first piece is written.
        """
        request_id = request.approval.request_id
        name = f"audit-{tenant_id}-{request_id}.jsonl"
        async with store.tenant(tenant_id) as records:
            # Only to require that the requester, and the key that asked, may still act.
            await load_principal_for_key(records, request.approval.requester_id, request.key_id, self._rules, now)
            if await records.request_results.begin(RequestResult(request_id, MEDIA_TYPE, name, now, now + KEPT)):
                await records.audit.append(_exported(tenant_id, request, now))
                return True
            result = await records.request_results.get(request_id)
            return result is not None and result.pieces == 0


async def _write(store: Store, tenant_id: str, request: Request, order: _ExportOrder) -> bool:
    """Writes the next piece; returns False where all are written."""
    async with store.tenant(tenant_id) as records:
        result = await records.request_results.locked(request.approval.request_id)
        if result is None:
            raise missing("result")
        if result.state.get("whole"):
            return False
        if result.pieces == 0:
            export = await _place(records, order)
            state: Json = {"begin": str(export.begin), "end": str(export.end), "after": export.begin.seq}
            header, _ = chain.export(export.begin, (), export.end)
            await records.request_results.add(result, header.encode(), state)
            return True
        await _write_page(records, result)
        return True


async def _write_page(records: Records, result: RequestResult) -> None:
    begin, end = (Anchor.parse(str(result.state[name])) for name in ("begin", "end"))
    page = await next_page(records, Export(begin, end), int(str(result.state["after"])))
    # The header is the first piece already.
    _, *events, closing = chain.export(begin, page, end)
    if page:
        await records.request_results.add(result, "".join(events).encode(), {**result.state, "after": page[-1].seq})
    else:
        await records.request_results.add(result, closing.encode(), {**result.state, "whole": True})


async def _place(records: Records, order: _ExportOrder) -> Export:
    """Finds the section of the chain with all events of the period; without gaps, it may have others between them."""
    start, (end, _) = await records.audit.start(), await records.audit.end()
    if order.since is None and order.until is None:
        return Export(start, end)
    found = await records.audit.places(order.since, order.until)
    if found is None:
        return Export(end, end)
    first, last = found
    return Export(await records.audit.anchor(first - 1) or start, await records.audit.anchor(last) or end)


def _order(payload: Json) -> _ExportOrder:
    refuse_payload(_problems(payload))
    return _ExportOrder(moment(payload.get("from")), moment(payload.get("to")))


def _problems(payload: Json) -> Sequence[str]:
    unread = [name for name in ("from", "to") if isinstance(payload.get(name), str) and moment(payload[name]) is None]
    problems = [
        *payload_problems(SCHEMA, payload),
        *(f"{name}: a time is written as RFC 3339 has it, for example 2026-01-31T18:00:00Z." for name in unread),
    ]
    since, until = moment(payload.get("from")), moment(payload.get("to"))
    if since is not None and until is not None and until <= since:
        problems.append("to: this time is not after from.")
    return problems


def _exported(tenant_id: str, request: Request, now: datetime) -> AuditEvent:
    return system_event(
        "audit.export",
        "audit_log",
        tenant_id,
        now,
        actor_id=request.approval.requester_id,
        approval_id=request.approval.request_id,
        asked=dict(request.payload),
    )
