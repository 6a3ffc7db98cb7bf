"""Approval workflows, request types and requests for programs that embed the library (guide 4.2)."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Protocol

from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.core.domain.approvals import definitions
from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus, Verdict
from taskforce.core.domain.approvals.definition_documents import parse
from taskforce.core.domain.approvals.definitions import Definition
from taskforce.core.interfaces.identity import checked_tenant_id


class RequestType(str):
    """Request types, as plain texts; a program subclasses it to add its own (guide 9.3)."""

    __slots__ = ()

    AGENT_PUBLISH: ClassVar[str] = definitions.AGENT_PUBLISH
    TOOL_CALL: ClassVar[str] = definitions.TOOL_CALL
    BUDGET_RAISE: ClassVar[str] = definitions.BUDGET_RAISE
    DATA_EXPORT: ClassVar[str] = definitions.DATA_EXPORT
    PERMISSION_ESCALATION: ClassVar[str] = definitions.PERMISSION_ESCALATION
    CUSTOM: ClassVar[str] = definitions.CUSTOM


@dataclass(frozen=True, kw_only=True)
class ApprovalWorkflow:
    """An approval definition of a tenant, with the field names of the guide and of the HTTP API.

    Attributes:
        workflow_id: 1 to 64 of `A-Za-z0-9._-`.
        tenant_id: The tenant.
        name: The display name.
        request_type: One of `RequestType`, or a type of the program's own with its `payload_schema`.
        description: The description, for people.
        required_approvers: Distinct people who must approve.
        rejections_to_close: Distinct people whose rejection closes a request.
        allowed_approver_roles: The roles that may decide; None is `admin`, or none where people are named.
        allowed_approvers: People who may decide with any role.
        allow_self_approval: Whether the requester may decide.
        comment_required: Whether a decision needs a comment.
        auto_expire_hours: Hours until a request expires; None is 72, or as `actions` imply.
        actions: Timed actions before that, for example `{"after_hours": 24, "do": "widen", "roles": ["cfo"]}`.
        notify_on_create: Whether the event `request_created` is sent.
        notify_on_action: Whether the event `request_action` is sent.
        enabled: Whether the definition is in force.
        payload_schema: The JSON Schema of payloads.
        tools: Of `tool_call`: the tools that it applies to; empty is all.
        agents: Of `tool_call`: the agents that it applies to; empty is all.
        metadata: Facts that are stored; `custom_type` names the type of a `custom` definition.

    Raises:
        Invalid: `tenant_id_invalid`; `definition_invalid`, whose `details["problems"]` lists every problem.
    """

    workflow_id: str
    tenant_id: str
    name: str
    request_type: str
    description: str = ""
    required_approvers: int = 1
    rejections_to_close: int = 1
    allowed_approver_roles: Iterable[str] | None = None
    allowed_approvers: Iterable[str] = ()
    allow_self_approval: bool = False
    comment_required: bool = False
    auto_expire_hours: float | None = None
    actions: Iterable[Mapping[str, object]] = ()
    notify_on_create: bool = True
    notify_on_action: bool = True
    enabled: bool = True
    payload_schema: Mapping[str, object] | None = None
    tools: Iterable[str] = ()
    agents: Iterable[str] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    definition: Definition = field(init=False, repr=False)

    def __post_init__(self) -> None:
        checked_tenant_id(self.tenant_id)
        object.__setattr__(self, "definition", parse(self._document(), schema_problems, signals=False))

    def _document(self) -> dict[str, object]:
        said = {name: _plain(getattr(self, name)) for name in _FIELDS}
        return {name: value for name, value in said.items() if value is not None}


_FIELDS = tuple(name for name in ApprovalWorkflow.__dataclass_fields__ if name not in {"tenant_id", "definition"})


def _plain(value: object) -> object:
    """Converts sets, tuples and subclasses of `str` to plain JSON values."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return value
    return list(value)


@dataclass(frozen=True, slots=True)
class ApprovalAction:
    """An action on a request.

    Attributes:
        action: `approve`, `reject`, `withdraw`, `remind`, `widen`, `reassign` or `expire`.
        user_id: The user who acted; None for a timed action.
        comment: The user's comment.
        at: The time, UTC.
    """

    action: str
    user_id: str | None
    comment: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """The stored state of a request: the approval as the rules see it, its resource and its payload."""

    tenant_id: str
    request_type: str
    resource_type: str
    resource_id: str
    title: str
    description: str
    payload: Mapping[str, object]
    approval: Approval
    workflow_id: str | None
    notify_on_action: bool
    actions: tuple[ApprovalAction, ...] = ()

    def after(self, approval: Approval, action: ApprovalAction) -> "StoredRequest":
        """Returns the state after an action."""
        return replace(self, approval=approval, actions=(*self.actions, action))


class RequestStorage(Protocol):
    """The storage that request views read from."""

    def stored(self, request_id: str) -> StoredRequest:
        """Returns the current state of a request."""
        ...

    def now(self) -> datetime:
        """Returns the time, UTC."""
        ...


@dataclass(frozen=True)
class ApprovalRequest:
    """View of a request; its properties always show the current state.

    Attributes:
        request_id: The id of the request.
    """

    request_id: str
    _storage: RequestStorage = field(repr=False, compare=False)

    @property
    def status(self) -> ApprovalStatus:
        """Returns the current status; a request whose time is over is expired, also before `tick` closes it."""
        return self._kept.approval.status(self._storage.now())

    @property
    def tenant_id(self) -> str:
        """Returns the tenant."""
        return self._kept.tenant_id

    @property
    def request_type(self) -> str:
        """Returns the request type."""
        return self._kept.request_type

    @property
    def resource_type(self) -> str:
        """Returns the type of the resource that it concerns."""
        return self._kept.resource_type

    @property
    def resource_id(self) -> str:
        """Returns the id of the resource."""
        return self._kept.resource_id

    @property
    def requester_id(self) -> str:
        """Returns the requester."""
        return self._kept.approval.requester_id

    @property
    def title(self) -> str:
        """Returns the title, for lists."""
        return self._kept.title

    @property
    def description(self) -> str:
        """Returns the description, for the approvers."""
        return self._kept.description

    @property
    def payload(self) -> dict[str, object]:
        """Returns a copy of the payload."""
        return deepcopy(dict(self._kept.payload))

    @property
    def workflow_id(self) -> str | None:
        """Returns the id of the definition that it was opened with; None for the usual terms."""
        return self._kept.workflow_id

    @property
    def required_approvers(self) -> int:
        """Returns the number of distinct people who must approve."""
        return self._kept.approval.terms.required_approvers

    @property
    def current_approvers(self) -> set[str]:
        """Returns the users who have approved."""
        said = self._kept.approval.decisions
        return {one.approver_id for one in said if one.verdict is Verdict.APPROVE}

    @property
    def allowed_approver_roles(self) -> set[str]:
        """Returns the roles that may decide now."""
        return set(self._kept.approval.who.roles)

    @property
    def allowed_approvers(self) -> set[str]:
        """Returns the people who may decide now with any role."""
        return set(self._kept.approval.who.people)

    @property
    def created_at(self) -> datetime:
        """Returns the time of its creation, UTC."""
        return self._kept.approval.opened_at

    @property
    def expires_at(self) -> datetime:
        """Returns the time at which it expires, UTC."""
        return self._kept.approval.expires_at

    @property
    def actions(self) -> tuple[ApprovalAction, ...]:
        """Returns the actions on it, oldest first."""
        return self._kept.actions

    @property
    def _kept(self) -> StoredRequest:
        return self._storage.stored(self.request_id)
