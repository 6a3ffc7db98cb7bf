"""Approval definitions: which requests are decided under which terms, and who may say so.

A definition gives nobody a right by itself: what follows an approval is done with the rights of whoever asked, read
anew. But it says whose word is enough, its maker's own perhaps. So whoever makes, changes or removes the definition
of a type must hold what an approval of that type brings about (`check_author`); then they could have done the thing
itself, and have nothing to win. Roles that it names may be unknown: those that an identity provider claims are
known nowhere else, and a role that nobody holds approves nothing.
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

AGENT_PUBLISH: Final = "agent_publish"
TOOL_CALL: Final = "tool_call"
BUDGET_RAISE: Final = "budget_raise"
DATA_EXPORT: Final = "data_export"
PERMISSION_ESCALATION: Final = "permission_escalation"
CUSTOM: Final = "custom"
BUILT_IN: Final = (AGENT_PUBLISH, TOOL_CALL, BUDGET_RAISE, DATA_EXPORT, PERMISSION_ESCALATION)
"""The types of which the product knows what follows."""
FEATURE: Final = "approval_workflows"
"""What a tenant needs to make definitions of its own."""
MOST_DEFINITIONS: Final = 200
"""Of one tenant's own."""

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
    """Where a definition comes from."""

    TENANT = "tenant"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Definition:
    """Which requests are decided under which terms.

    Attributes:
        definition_id: 1 to 64 of `A-Za-z0-9._-`; the guide's `workflow_id`.
        name: For people.
        request_type: One of `BUILT_IN`, `custom`, or a type of the tenant's own.
        terms: How a request is decided, and whether what it asks for then happens by itself.
        description: For people.
        payload_schema: JSON Schema of what a request asks for; None takes any object.
        tools: Of `tool_call`: for which tools; empty is all.
        agents: Of `tool_call`: for which agents; empty is all.
        notify_on_create: Whether a new request is told of.
        notify_on_action: Whether each word on it is told of.
        enabled: Whether it counts.
        metadata: Facts that are kept; of them only `custom_type` of a `custom` one is read.
        source: Where it comes from.
        version: How often it was saved; 0 for the profile's.
        created_at: When it was made, UTC; None for the profile's.
        updated_at: When it was saved last, UTC; None for the profile's.

    Raises:
        Invalid: `definition_invalid` for an id that is none.
    """

    definition_id: str
    name: str
    request_type: str
    terms: Terms = field(default_factory=Terms)
    description: str = ""
    payload_schema: Mapping[str, object] | None = field(default=None, hash=False)
    tools: tuple[str, ...] = ()
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
        """The type of the requests that it is for."""
        return type_of(self.request_type, self.metadata)

    @property
    def own_terms(self) -> Terms:
        """The terms of its requests, with who is told of them."""
        return replace(self.terms, notify_on_create=self.notify_on_create, notify_on_action=self.notify_on_action)

    def is_for(self, tool: str | None, agent: Collection[str]) -> bool:
        """Whether it is for calls of this tool by this agent, by whichever of its names."""
        return (not self.tools or tool in self.tools) and (not self.agents or not set(agent).isdisjoint(self.agents))

    def within(self, *, signals: bool) -> "Definition":
        """This definition in a deployment that may have stopped taking decisions by signal since it was saved."""
        if signals or not self.terms.signal_channel:
            return self
        return replace(self, terms=replace(self.terms, signal_channel=False))


@dataclass(frozen=True, slots=True)
class DefinitionRules:
    """What a deployment says about approvals.

    Attributes:
        definitions: Those of its profile, which every tenant has.
        signals: Whether decisions from the Temporal UI and CLI may count.
    """

    definitions: tuple[Definition, ...] = ()
    signals: bool = False


def is_definition_id(text: str) -> bool:
    """Whether a text can be a definition's id."""
    return _ID.fullmatch(text) is not None


def type_of(request_type: str, metadata: Mapping[str, object]) -> str:
    """The type that is meant: `custom` may name another in `metadata["custom_type"]`, as the guide shows (9.3)."""
    named = metadata.get("custom_type") if request_type == CUSTOM else None
    return named if isinstance(named, str) else request_type


def merged(own: Iterable[Definition], profile: Iterable[Definition]) -> tuple[Definition, ...]:
    """All definitions of a tenant by id; one of its own stands in the place of the profile's of the same id."""
    found = {one.definition_id: one for one in (*profile, *own)}
    return tuple(found[definition_id] for definition_id in sorted(found))


def choose(
    definitions: Iterable[Definition], request_type: str, *, tool: str | None = None, agent: Collection[str] = ()
) -> Definition | None:
    """Finds the definition under which a request is decided.

    Args:
        definitions: All of the tenant; see `merged`.
        request_type: What is asked for; of a `custom` one what `type_of` says.
        tool: The tool that is to be called.
        agent: The names of the agent that calls it: its id and, of the catalog's, its slug.

    Returns:
        Of the enabled ones for this the most specific: for agent and tool, for the tool, for the agent, for all. Of
        several a tenant's own goes before the profile's, then the smallest id. None when there is none.
    """
    fitting = [one for one in definitions if one.enabled and one.decides == request_type and one.is_for(tool, agent)]
    return min(fitting, key=_order, default=None)


def _order(one: Definition) -> tuple[int, bool, str]:
    return -2 * bool(one.tools) - bool(one.agents), one.source is Source.PROFILE, one.definition_id


def follows(request_type: str) -> frozenset[Permission]:
    """What an approval of a type brings about, as the permissions that the thing itself takes."""
    return _FOLLOWS.get(request_type, frozenset())


def check_author(held: Collection[Permission], *definitions: Definition) -> None:
    """Lets only somebody say who decides about a thing who may do the thing.

    Args:
        held: What they may do now.
        definitions: As it was and as it shall be. What one that goes does not say any more, another one says.

    Raises:
        Forbidden: `permission_denied`, naming a permission that an approval brings into play.
    """
    needed = {permission for one in definitions for permission in follows(one.decides)}
    for permission in sorted(needed, key=lambda one: one.value):
        require(held, permission)


def agent_terms(agent: Mapping[str, object], definition: Definition | None, usual: Terms) -> Terms:
    """The terms of an agent's tool calls where the agent says who decides (guide 11.3, `approval_roles`).

    Whoever writes an agent may narrow down who decides and cannot go around a definition: of its roles those count
    that the definition allows too, and when none is left, the definition stays as it is. Reminders stay; nobody else
    comes to decide as time goes by.

    Args:
        agent: The section `agent` of its definition.
        definition: The definition of the call; see `choose`.
        usual: The terms where there is no definition.

    Raises:
        Invalid: `definition_invalid`: `approval_roles` is no list of names.
    """
    terms = usual if definition is None else definition.own_terms
    if agent.get("approval_roles") is None:
        return terms
    problems = Problems(INVALID, "agent's definition")
    roles = Part(agent["approval_roles"], "agent.approval_roles", problems).names(least=1)
    problems.refuse()
    allowed = roles if definition is None else tuple(role for role in roles if role in terms.allowed_roles)
    if not allowed:
        return terms
    reminders = tuple(one for one in terms.actions if one.kind is ActionKind.REMIND)
    return replace(terms, allowed_roles=allowed, allowed_people=(), actions=reminders)


def check_known(request_type: str, chosen: Definition | None) -> None:
    """Refuses a request of a type that nobody has defined: it would be decided by whoever decides anything.

    Raises:
        Invalid: `request_type_unknown`.
    """
    if chosen is None and request_type not in BUILT_IN:
        known: Sequence[str] = BUILT_IN
        text = f"There is no definition for requests of this type. Without one there are: {', '.join(known)}."
        raise Invalid("request_type_unknown", text)
