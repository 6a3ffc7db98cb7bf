"""Handlers of approval requests: validation, edits and execution by request type."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from taskforce.application.audit.events import system_event
from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.json_limits import Json, check_document
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.tools import ToolRunner
from taskforce.core.interfaces.workflows import RunSignals

TOOL_CALL = "tool_call"


class RequestHandler(Protocol):
    """Behaviour of one request type."""

    async def validate(self, records: Records, payload: Json, now: datetime) -> Json:
        """Validates a payload and returns it with names resolved to ids, as it will be decided.

        Raises:
            Invalid: `payload_invalid`, whose `details["problems"]` lists every problem.
        """
        ...

    async def current_hash(self, records: Records, request: Request) -> str | None:
        """Returns the hash of the request's subject as it is now; None where the subject is gone."""
        ...

    async def check_edit(self, request: Request, edited: Json) -> None:
        """Requires that an approver may approve the request with this edited content.

        Raises:
            Conflict: `not_editable`.
            Invalid: The content does not fit.
        """
        ...

    async def on_closed(
        self, records: Records, request: Request, status: ApprovalStatus, reason: str, now: datetime
    ) -> None:
        """Updates what depends on the request when it is closed, in the same transaction."""
        ...

    async def prepare(self, store: Store, tenant_id: str, request: Request, clock: Clock) -> None:
        """Executes the long part in transactions of its own; a second call continues where it stopped.

        Raises:
            DomainError: It cannot be done.
        """
        ...

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Executes the approved request in the transaction that records the outcome.

        Returns:
            The outcome, as text for the history; None where the request type has no execution.

        Raises:
            DomainError: It cannot be done; the transaction is rolled back.
        """
        ...

    async def notify(self, store: Store, tenant_id: str, request: Request, runs: RunSignals, live: Live) -> None:
        """Notifies runs and watchers of the execution after its commit; a second call notifies again.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...


class DefaultHandler:
    """Handler of request types without a subject in the product: no edits and no execution."""

    async def validate(self, records: Records, payload: Json, now: datetime) -> Json:
        """Returns the payload; only its definition's schema constrains it."""
        return payload

    async def current_hash(self, records: Records, request: Request) -> str | None:
        """Returns the hash of the payload, which never changes."""
        return request.content_hash

    async def check_edit(self, request: Request, edited: Json) -> None:
        """Refuses every edit."""
        raise Conflict("not_editable", "This request can be approved or rejected, but not edited.")

    async def on_closed(
        self, records: Records, request: Request, status: ApprovalStatus, reason: str, now: datetime
    ) -> None:
        """Does nothing."""

    async def prepare(self, store: Store, tenant_id: str, request: Request, clock: Clock) -> None:
        """Does nothing."""

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Returns None: people execute what was approved."""
        return None

    async def notify(self, store: Store, tenant_id: str, request: Request, runs: RunSignals, live: Live) -> None:
        """Does nothing."""


class ToolCalls(DefaultHandler):
    """Handler of tool calls; an approver may edit the arguments within the tool's schema.

    Args:
        tools: The deployment's tools.
    """

    def __init__(self, tools: ToolRunner) -> None:
        self._tools = tools

    async def check_edit(self, request: Request, edited: Json) -> None:
        """Requires that the edited arguments fit the tool's schema, like those of the model.

        Raises:
            Invalid: `arguments_invalid`, or what `check_document` refuses.
        """
        arguments = edited.get("arguments")
        if edited.get("tool") != request.resource_id or not isinstance(arguments, Mapping):
            raise Invalid("arguments_invalid", "Only the arguments can be edited, and they are one JSON object.")
        check_document(arguments, "arguments")
        problems = self._tools.problems(request.resource_id, arguments)
        if problems:
            raise Invalid("arguments_invalid", "The arguments do not fit: " + "; ".join(problems))


def approvers_of(request: Request) -> Sequence[str]:
    """Returns the users by whose right a request was approved, in the order of their decisions."""
    said = (one for one in request.approval.decisions if one.verdict is Verdict.APPROVE)
    return list(dict.fromkeys(one.on_behalf_of or one.approver_id for one in said))


def followed(
    request: Request, action: str, about: tuple[str, str], *, before: object, after: object, now: datetime
) -> AuditEvent:
    """Builds the audit event of the execution of an approved request.

    Args:
        request: The request.
        action: The audit action.
        about: The type and the id of the changed resource.
        before: The resource before.
        after: The resource afterwards.
        now: The time, UTC.
    """
    resource_type, resource_id = about
    return system_event(
        action,
        resource_type,
        resource_id,
        now,
        on_behalf_of=request.approval.requester_id,
        approval_id=request.approval.request_id,
        approved_by=list(approvers_of(request)),
        before=before,
        after=after,
    )


def approved_hash(payload: Json, request_type: str) -> str:
    """Returns the hash that an approval binds to: of a tool call's name and arguments, else of the whole payload.

    Args:
        payload: The request's payload.
        request_type: The request type.
    """
    if request_type == TOOL_CALL:
        # Without the model's reason, which is in the payload for the approvers only.
        return canonical_hash({"tool": payload["tool"], "arguments": payload["arguments"]})
    return canonical_hash(dict(payload))
