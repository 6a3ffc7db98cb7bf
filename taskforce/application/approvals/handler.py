"""What a request is about: whether it is still the same, what may be edited, and what follows the decision."""

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
    """One kind of thing that people are asked about."""

    async def validate(self, records: Records, payload: Json, now: datetime) -> Json:
        """What somebody asks for as it will be decided: with ids in the place of names.

        Raises:
            Invalid: `payload_invalid`, whose `details["problems"]` lists all that is wrong.
        """
        ...

    async def current_hash(self, records: Records, request: Request) -> str | None:
        """The hash of what is asked for as it is now; None when it is gone."""
        ...

    async def check_edit(self, request: Request, edited: Json) -> None:
        """Refuses what an approver may not make of the request.

        Raises:
            Conflict: `not_editable`.
            Invalid: It does not fit.
        """
        ...

    async def on_closed(
        self, records: Records, request: Request, status: ApprovalStatus, reason: str, now: datetime
    ) -> None:
        """Takes note of the end, and why it is one, in the transaction that records it."""
        ...

    async def prepare(self, store: Store, tenant_id: str, request: Request, clock: Clock) -> None:
        """Does what takes long of what was approved, in transactions of its own; asked again, it goes on from there.

        Raises:
            DomainError: It cannot be done.
        """
        ...

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Does what was approved, in the transaction that tells of it.

        Returns:
            What was done; None when nothing is to be done.

        Raises:
            DomainError: It cannot be done, and nothing of it was.
        """
        ...

    async def notify(self, store: Store, tenant_id: str, request: Request, runs: RunSignals, live: Live) -> None:
        """Tells of what was done whoever must know, after it is committed; asked again, it tells again.

        Raises:
            Unavailable: They cannot be told at the moment.
        """
        ...


class DefaultHandler:
    """A request whose payload is all there is: nobody edits it, and nothing follows by itself."""

    async def validate(self, records: Records, payload: Json, now: datetime) -> Json:
        """Whatever its definition lets pass."""
        return payload

    async def current_hash(self, records: Records, request: Request) -> str | None:
        """What was asked for; it does not change."""
        return request.content_hash

    async def check_edit(self, request: Request, edited: Json) -> None:
        """Refuses every edit."""
        raise Conflict("not_editable", "This request can be approved or rejected, but not edited.")

    async def on_closed(
        self, records: Records, request: Request, status: ApprovalStatus, reason: str, now: datetime
    ) -> None:
        """Nothing else depends on it."""

    async def prepare(self, store: Store, tenant_id: str, request: Request, clock: Clock) -> None:
        """Nothing takes long."""

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Somebody does it."""
        return None

    async def notify(self, store: Store, tenant_id: str, request: Request, runs: RunSignals, live: Live) -> None:
        """Nobody must know."""


class ToolCalls(DefaultHandler):
    """One call of a tool, whose arguments an approver may edit within the tool's schema.

    Args:
        tools: The tools there are.
    """

    def __init__(self, tools: ToolRunner) -> None:
        self._tools = tools

    async def check_edit(self, request: Request, edited: Json) -> None:
        """Checks the arguments as those of the model are checked.

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
    """In whose right a request was approved, the last one last."""
    said = (one for one in request.approval.decisions if one.verdict is Verdict.APPROVE)
    return list(dict.fromkeys(one.on_behalf_of or one.approver_id for one in said))


def followed(
    request: Request, action: str, about: tuple[str, str], before: object, after: object, now: datetime
) -> AuditEvent:
    """What the product did because a request was approved, for the audit log.

    Args:
        request: The request.
        action: What was done.
        about: The kind of thing it was done to, and its id.
        before: What that was.
        after: What it is.
        now: The time.
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
    """What an approval binds to: of a tool call its name and arguments, of anything else the whole payload.

    Args:
        payload: What is asked for.
        request_type: What kind of request it is.
    """
    if request_type == TOOL_CALL:
        return canonical_hash({"tool": payload["tool"], "arguments": payload["arguments"]})
    return canonical_hash(dict(payload))
