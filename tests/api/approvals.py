"""Requests for approval over HTTP."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.infrastructure.persistence.database import Database


async def ask(
    database: Database, tenant: str, run_id: str, requester: str = "olga", terms: Terms | None = None, age: int = 0
) -> str:
    """Opens a request as the workflow's activity does, without a workflow behind it."""
    payload = {"tool": "write_file", "arguments": {"path": "a.txt"}}
    opened_at = datetime.now(UTC) - timedelta(seconds=age)
    request = Request(
        approval=Approval(str(uuid4()), requester, terms or Terms(), opened_at),
        run_id=run_id,
        step=1,
        call=1,
        request_type="tool_call",
        resource_type="tool",
        resource_id="write_file",
        title="Assistant wants to call write_file",
        payload={**payload, "reason": "because"},
        content_hash=canonical_hash(payload),
    )
    async with database.tenant(tenant) as records:
        await records.requests.add(request)
    return request.approval.request_id
