"""What a program that embeds the library says and sees of approvals: workflows, request types, requests."""

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
    """Types of requests, as plain texts; a program subclasses it to add its own (guide 9.3)."""

    __slots__ = ()

    AGENT_PUBLISH: ClassVar[str] = definitions.AGENT_PUBLISH
    TOOL_CALL: ClassVar[str] = definitions.TOOL_CALL
    BUDGET_RAISE: ClassVar[str] = definitions.BUDGET_RAISE
    DATA_EXPORT: ClassVar[str] = definitions.DATA_EXPORT
    PERMISSION_ESCALATION: ClassVar[str] = definitions.PERMISSION_ESCALATION
    CUSTOM: ClassVar[str] = definitions.CUSTOM


@dataclass(frozen=True, kw_only=True)
class ApprovalWorkflow:
    """An approval definition of a tenant, in the words of the guide; those of the service's API are the same.

    Attributes:
        workflow_id: 1 to 64 of `A-Za-z0-9._-`.
        tenant_id: Whose it is.
        name: For people.
        request_type: One of `RequestType`, or a type of one's own with its `payload_schema`.
        description: For people.
        required_approvers: Distinct people who must approve.
        rejections_to_close: Distinct people whose rejection ends it.
        allowed_approver_roles: None is `admin`, or nobody where people are named.
        allowed_approvers: People who may decide whatever their roles.
        allow_self_approval: Whether the requester may decide.
        comment_required: Whether a decision must say why.
        auto_expire_hours: Hours until a request ends by itself; None is 72, or what `actions` say.
        actions: What happens meanwhile, for example `{"after_hours": 24, "do": "widen", "roles": ["cfo"]}`.
        notify_on_create: Whether `request_created` is told.
        notify_on_action: Whether `request_action` is told.
        enabled: Whether it counts.
        payload_schema: JSON Schema of what is asked for.
        tools: Of `tool_call`: for which tools; empty is all.
        agents: Of `tool_call`: for which agents; empty is all.
        metadata: Facts that are kept; `custom_type` names what a `custom` one is for.

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
        said = {name: _plain(getattr(self, name)) for name in _WORDS}
        return {name: value for name, value in said.items() if value is not None}


_WORDS = tuple(name for name in ApprovalWorkflow.__dataclass_fields__ if name not in {"tenant_id", "definition"})


def _plain(value: object) -> object:
    """A value as JSON has it: sets, tuples and subclasses of `str` as well."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return value
    return list(value)


@dataclass(frozen=True, slots=True)
class ApprovalAction:
    """Something that happened to a request.

    Attributes:
        action: `approve`, `reject`, `withdraw`, `remind`, `widen`, `reassign` or `expire`.
        user_id: Who did it; None when it happened by itself.
        comment: What they said.
        at: When, UTC.
    """

    action: str
    user_id: str | None
    comment: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a request: the rules' view, and what it is about."""

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

    def after(self, approval: Approval, action: ApprovalAction) -> "Kept":
        """The same after something has happened."""
        return replace(self, approval=approval, actions=(*self.actions, action))


class Book(Protocol):
    """Where requests are kept."""

    def kept(self, request_id: str) -> Kept:
        """One request as it is now."""
        ...

    def now(self) -> datetime:
        """The time."""
        ...


@dataclass(frozen=True)
class ApprovalRequest:
    """A request, always as it stands at the moment of the look: decisions show in it.

    Attributes:
        request_id: Its id.
    """

    request_id: str
    _book: Book = field(repr=False, compare=False)

    @property
    def status(self) -> ApprovalStatus:
        """Where it stands now."""
        return self._kept.approval.status(self._book.now())

    @property
    def tenant_id(self) -> str:
        """Whose it is."""
        return self._kept.tenant_id

    @property
    def request_type(self) -> str:
        """What kind of thing is asked for."""
        return self._kept.request_type

    @property
    def resource_type(self) -> str:
        """What kind of thing it is about."""
        return self._kept.resource_type

    @property
    def resource_id(self) -> str:
        """Which one."""
        return self._kept.resource_id

    @property
    def requester_id(self) -> str:
        """Who asks."""
        return self._kept.approval.requester_id

    @property
    def title(self) -> str:
        """For lists."""
        return self._kept.title

    @property
    def description(self) -> str:
        """For whoever decides."""
        return self._kept.description

    @property
    def payload(self) -> dict[str, object]:
        """Exactly what is asked for; a copy."""
        return deepcopy(dict(self._kept.payload))

    @property
    def workflow_id(self) -> str | None:
        """The definition that it began with; None for the usual terms."""
        return self._kept.workflow_id

    @property
    def required_approvers(self) -> int:
        """Distinct people who must approve."""
        return self._kept.approval.terms.required_approvers

    @property
    def current_approvers(self) -> set[str]:
        """Who has approved."""
        said = self._kept.approval.decisions
        return {one.approver_id for one in said if one.verdict is Verdict.APPROVE}

    @property
    def allowed_approver_roles(self) -> set[str]:
        """The roles of which one lets somebody decide now."""
        return set(self._kept.approval.who.roles)

    @property
    def allowed_approvers(self) -> set[str]:
        """The people who may decide now whatever their roles."""
        return set(self._kept.approval.who.people)

    @property
    def created_at(self) -> datetime:
        """When it was made, UTC."""
        return self._kept.approval.opened_at

    @property
    def expires_at(self) -> datetime:
        """When it ends by itself, UTC."""
        return self._kept.approval.expires_at

    @property
    def actions(self) -> tuple[ApprovalAction, ...]:
        """What has happened to it, oldest first."""
        return self._kept.actions

    @property
    def _kept(self) -> Kept:
        return self._book.kept(self.request_id)
