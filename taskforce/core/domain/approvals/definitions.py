"""Approval definitions: which requests are decided under which terms, and who may write a definition.

A definition grants no right: what follows an approval is executed with the requester's rights, read again at that time.
But it names who approves, perhaps its own author. So whoever makes, changes or removes a definition of a type must hold
the permissions that an approval of that type exercises (`check_author`): an author gains nothing by it. Roles that a
definition names may be unknown here: roles claimed by an identity provider are stored nowhere, and a role that nobody
holds approves nothing.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from taskforce.core.domain.approvals.terms import ActionKind, Terms
from taskforce.core.domain.document_reader import Part, Problems
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.principals import require
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.tools import ToolFacts

AGENT_PUBLISH: Final = "agent_publish"
TOOL_CALL: Final = "tool_call"
BUDGET_RAISE: Final = "budget_raise"
DATA_EXPORT: Final = "data_export"
PERMISSION_ESCALATION: Final = "permission_escalation"
CUSTOM: Final = "custom"
BUILT_IN: Final = (AGENT_PUBLISH, TOOL_CALL, BUDGET_RAISE, DATA_EXPORT, PERMISSION_ESCALATION)
"""Request types with a built-in effect."""
FEATURE: Final = "approval_workflows"
"""Feature that a tenant needs for definitions of its own; see `Tenant`."""
MOST_DEFINITIONS: Final = 200
"""Definitions of a tenant, at most, besides those of the profile."""

INVALID: Final = "definition_invalid"
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FOLLOWS: Final[Mapping[str, frozenset[Permission]]] = {
    AGENT_PUBLISH: frozenset({Permission.AGENT_UPDATE}),
    TOOL_CALL: frozenset({Permission.TOOL_EXECUTE}),
    BUDGET_RAISE: frozenset({Permission.SYSTEM_CONFIG}),
    DATA_EXPORT: frozenset({Permission.AUDIT_READ, Permission.SESSION_READ, Permission.MEMORY_READ}),
    PERMISSION_ESCALATION: frozenset({Permission.USER_MANAGE, Permission.ROLE_MANAGE}),
}


class Source(StrEnum):
    """The source of a definition."""

    TENANT = "tenant"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Definition:
    """An approval definition: the terms of requests of one type.

    Attributes:
        definition_id: 1 to 64 characters of `A-Za-z0-9._-`; the guide's `workflow_id`.
        name: Display name.
        request_type: One of `BUILT_IN`, `custom`, or a type of the tenant's own.
        terms: The terms of its requests, and whether an approved request is executed automatically.
        description: Display text; may be empty.
        payload_schema: JSON Schema of a request's payload; None accepts any object.
        tools: For `tool_call`: the tools that it applies to; empty means all.
        tool_tags: For `tool_call`: tags of which a tool has one; empty means any tool.
        tool_kinds: For `tool_call`: kinds of which a tool is one (`ToolKind`); empty means any tool.
        requires_approval: For `tool_call`: whether the calls that it applies to need an approval; None means that they
            do where it selects tools by name, tag or kind. Others only say who decides what tool or agent has asked.
        agents: For `tool_call`: the agents that it applies to; empty means all.
        notify_on_create: Whether webhooks are notified of a new request.
        notify_on_action: Whether webhooks are notified of each decision and action.
        enabled: Whether it applies to new requests.
        metadata: Stored as sent; only `custom_type` is read, and only of a `custom` definition.
        source: The tenant or the profile.
        version: Number of saves; 0 for one of the profile.
        created_at: Time of creation, UTC; None for one of the profile.
        updated_at: Time of the last save, UTC; None for one of the profile.

    Raises:
        Invalid: `definition_invalid` for a malformed id.
    """

    definition_id: str
    name: str
    request_type: str
    terms: Terms = field(default_factory=Terms)
    description: str = ""
    payload_schema: Mapping[str, object] | None = field(default=None, hash=False)
    tools: tuple[str, ...] = ()
    tool_tags: tuple[str, ...] = ()
    tool_kinds: tuple[str, ...] = ()
    requires_approval: bool | None = None
    agents: tuple[str, ...] = ()
    notify_on_create: bool = True
    notify_on_action: bool = True
    enabled: bool = True
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)
    source: Source = Source.TENANT
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        if not is_definition_id(self.definition_id):
            raise Invalid(INVALID, "A definition's id is 1 to 64 letters, digits, dots, underscores or hyphens.")

    @property
    def decides(self) -> str:
        """Returns the request type that it applies to."""
        return type_of(self.request_type, self.metadata)

    @property
    def own_terms(self) -> Terms:
        """Returns the terms of its requests, with its notification flags."""
        return replace(self.terms, notify_on_create=self.notify_on_create, notify_on_action=self.notify_on_action)

    @property
    def gates(self) -> bool:
        """Returns whether the tool calls that it applies to need an approval."""
        selects = bool(self.tools or self.tool_tags or self.tool_kinds)
        return selects if self.requires_approval is None else self.requires_approval

    def selects(self, tool: ToolFacts | None) -> bool:
        """Tells whether it applies to a tool: named, and tagged, and of a kind, as far as it says so."""
        facts = tool or ToolFacts("")
        named = not self.tools or facts.name in self.tools
        tagged = not self.tool_tags or not facts.tags.isdisjoint(self.tool_tags)
        return named and tagged and (not self.tool_kinds or not facts.kinds.isdisjoint(self.tool_kinds))

    def is_for(self, tool: ToolFacts | None, agent: Collection[str]) -> bool:
        """Tells whether it applies to calls of a tool by an agent; `agent` holds the agent's id and slug."""
        return self.selects(tool) and (not self.agents or not set(agent).isdisjoint(self.agents))

    def within(self, *, signals: bool) -> "Definition":
        """Returns the definition without its signal channel where the deployment no longer accepts signals."""
        if signals or not self.terms.signal_channel:
            return self
        return replace(self, terms=replace(self.terms, signal_channel=False))


@dataclass(frozen=True, slots=True)
class DefinitionRules:
    """A deployment's configuration of approvals.

    Attributes:
        definitions: The definitions of its profile, which apply to every tenant.
        signals: Whether decisions from the Temporal UI and CLI are accepted.
    """

    definitions: tuple[Definition, ...] = ()
    signals: bool = False

    def in_force(self, own: Iterable[Definition]) -> Sequence[Definition]:
        """Returns the definitions in force for a tenant that has these of its own."""
        return [one.within(signals=self.signals) for one in merged(own, self.definitions)]


def is_definition_id(text: str) -> bool:
    """Tells whether a text is a well-formed definition id."""
    return _ID.fullmatch(text) is not None


def type_of(request_type: str, metadata: Mapping[str, object]) -> str:
    """Returns the effective request type: `custom` may name one in `metadata["custom_type"]` (guide 9.3)."""
    named = metadata.get("custom_type") if request_type == CUSTOM else None
    return named if isinstance(named, str) else request_type


def merged(own: Iterable[Definition], profile: Iterable[Definition]) -> tuple[Definition, ...]:
    """Returns all definitions of a tenant, by id; one of the tenant replaces the profile's of the same id."""
    # The tenant's come last and replace those of the profile.
    found = {one.definition_id: one for one in (*profile, *own)}
    return tuple(found[definition_id] for definition_id in sorted(found))


def choose(
    definitions: Iterable[Definition], request_type: str, *, tool: ToolFacts | None = None, agent: Collection[str] = ()
) -> Definition | None:
    """Chooses the definition under which a request is decided.

    Args:
        definitions: All definitions of the tenant; see `merged`.
        request_type: The request's type; for a `custom` one the result of `type_of`.
        tool: The tool of a `tool_call`.
        agent: The agent's id and, for one of the catalog, its slug.

    Returns:
        The most specific enabled definition: one that names the tool goes before one by tag, that before one by kind,
        that before one that only names the agent. Among equals a tenant's goes before the profile's, then the smallest
        id. None when no definition applies.
    """
    return min(_fitting(definitions, request_type, tool, agent), key=_order, default=None)


def requires_approval(definitions: Iterable[Definition], tool: ToolFacts, agent: Collection[str]) -> bool:
    """Tells whether a definition requires an approval of an agent's calls of a tool, whatever tool and agent say.

    One is enough: a more specific definition says who decides, and exempts from none.

    Args:
        definitions: All definitions of the tenant; see `merged`.
        tool: The tool.
        agent: The agent's id and, for one of the catalog, its slug.
    """
    return any(one.gates for one in _fitting(definitions, TOOL_CALL, tool, agent))


def _fitting(
    definitions: Iterable[Definition], request_type: str, tool: ToolFacts | None, agent: Collection[str]
) -> Sequence[Definition]:
    return [one for one in definitions if one.enabled and one.decides == request_type and one.is_for(tool, agent)]


def _order(one: Definition) -> tuple[tuple[bool, ...], bool, str]:
    # Naming the tool outweighs its tags, these its kinds, and these naming the agent; False sorts before True.
    names = (one.tools, one.tool_tags, one.tool_kinds, one.agents)
    return tuple(not listed for listed in names), one.source is Source.PROFILE, one.definition_id


def follows(request_type: str) -> frozenset[Permission]:
    """Returns the permissions that the effect of an approved request of this type requires."""
    return _FOLLOWS.get(request_type, frozenset())


def check_author(held: Collection[Permission], *definitions: Definition) -> None:
    """Requires that a definition's author holds the permissions that its approvals exercise.

    Args:
        held: The author's permissions now.
        definitions: The definition before and after the change. Both count: once one is removed, another applies.

    Raises:
        Forbidden: `permission_denied`, naming a missing permission.
    """
    needed = {permission for one in definitions for permission in follows(one.decides)}
    for permission in sorted(needed, key=lambda one: one.value):
        require(held, permission)


def agent_terms(agent: Mapping[str, object], definition: Definition | None, usual: Terms) -> Terms:
    """Returns the terms of an agent's tool calls where the agent names approvers (guide 11.3, `approval_roles`).

    An agent's author may narrow down the approvers and cannot go around them: of the agent's roles only those count
    that the terms allow. When none is left, the terms apply unchanged, for somebody must be able to decide. Of the
    timed actions only reminders are kept, for the others would let further people decide.

    Args:
        agent: The section `agent` of its definition.
        definition: The definition of the call; see `choose`.
        usual: The terms when there is no definition.

    Raises:
        Invalid: `definition_invalid` when `approval_roles` is no list of names.
    """
    terms = usual if definition is None else definition.own_terms
    if agent.get("approval_roles") is None:
        return terms
    problems = Problems(INVALID, "agent's definition")
    roles = Part(agent["approval_roles"], "agent.approval_roles", problems).names(least=1)
    problems.refuse()
    allowed = tuple(role for role in roles if role in terms.allowed_roles)
    if not allowed:
        return terms
    reminders = tuple(one for one in terms.actions if one.kind is ActionKind.REMIND)
    return replace(terms, allowed_roles=allowed, allowed_people=(), actions=reminders)


def call_deciders(definitions: Iterable[Definition], agent: Collection[str], usual: Terms) -> frozenset[str]:
    """Returns the roles by which somebody may decide a tool call of an agent, whatever the tool.

    Args:
        definitions: All definitions of the tenant; see `merged`.
        agent: The agent's id and, for one of the catalog, its slug.
        usual: The terms where there is no definition.
    """
    ours = (one for one in definitions if one.enabled and one.decides == TOOL_CALL)
    fitting = (one.terms for one in ours if not one.agents or not set(agent).isdisjoint(one.agents))
    return frozenset(role for terms in (usual, *fitting) for role in terms.allowed_roles)


def check_known(request_type: str, chosen: Definition | None) -> None:
    """Requires that a request's type is built in or defined; else the default approvers would decide anything.

    Raises:
        Invalid: `request_type_unknown`.
    """
    if chosen is None and request_type not in BUILT_IN:
        known: Sequence[str] = BUILT_IN
        text = f"There is no definition for requests of this type. Without one there are: {', '.join(known)}."
        raise Invalid("request_type_unknown", text)
