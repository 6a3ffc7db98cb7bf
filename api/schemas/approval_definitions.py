"""Approval definitions in requests and responses."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, JsonValue, WithJsonSchema

from api.schemas.agents import ProblemOut
from api.schemas.fields import Document
from taskforce.application.approvals.definition_facts import DefinitionFacts
from taskforce.application.approvals.definitions import DefinitionChange
from taskforce.core.domain.approvals.definition_documents import MAX_DESCRIPTION, MAX_NAME, MOST_APPROVERS, as_document
from taskforce.core.domain.approvals.definitions import BUILT_IN, CUSTOM, Source
from taskforce.core.domain.errors import Invalid
from taskforce.core.interfaces.tools import ToolKind

_ONLY_TOLD = frozenset({"source", "created_at", "updated_at", "problems", "matched", "last_matched_at"})
_NAMES = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 256}, "maxItems": 100}
_APPROVERS = {"type": "integer", "minimum": 1, "maximum": MOST_APPROVERS, "default": 1}
_HOURS = {"type": "number", "exclusiveMinimum": 0, "maximum": 366 * 24}
_FACTS = {"type": "object", "additionalProperties": True}


def _flag(description: str, *, default: bool) -> dict[str, Any]:
    return {"type": "boolean", "default": default, "description": description}


_ACTION = {
    "type": "object",
    "properties": {
        "after_hours": {**_HOURS, "description": "Since the request was made."},
        "do": {"enum": ["remind", "widen", "reassign", "expire"]},
        "roles": _NAMES,
        "people": _NAMES,
    },
    "required": ["after_hours", "do"],
    "additionalProperties": False,
}
_PROPERTIES: dict[str, Any] = {
    "workflow_id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
    "description": {"type": "string", "maxLength": MAX_DESCRIPTION, "default": ""},
    "request_type": {
        "type": "string",
        "pattern": "^[a-z][a-z0-9_.-]{0,63}$",
        "description": f"{', '.join(BUILT_IN)}; {CUSTOM}, named by metadata.custom_type; or one of your own, "
        "with its payload_schema.",
    },
    "required_approvers": {**_APPROVERS, "description": "Distinct people who must approve."},
    "rejections_to_close": {**_APPROVERS, "description": "Distinct people whose rejection ends it."},
    "allowed_approver_roles": {**_NAMES, "description": "Left out: admin, or nobody where people are named."},
    "allowed_approvers": {**_NAMES, "description": "People who may decide whatever their roles, by id."},
    "allow_self_approval": _flag("Whether the requester may decide.", default=False),
    "allow_service_accounts": _flag(
        "Whether service accounts decide, and API keys that somebody else issued; everybody in the chain of issuers "
        "counts as one person.",
        default=False,
    ),
    "independence_hours": {
        "type": "number",
        "minimum": 0,
        "maximum": 366 * 24,
        "default": 24,
        "description": "For how long before the request an account or a role that decides must have been held for "
        "whoever gave it to count as another person.",
    },
    "comment_required": _flag("Whether a decision must say why.", default=False),
    "signal_channel": _flag(
        "Whether decisions from the Temporal UI and CLI count, whose author is only claimed; "
        "refused unless the deployment's profile allows it.",
        default=False,
    ),
    "auto_expire_hours": {**_HOURS, "default": 72},
    "actions": {"type": "array", "items": _ACTION, "maxItems": 51, "description": "What happens as time goes by."},
    "on_approved": {"enum": ["carry_out", "wait"], "default": "carry_out"},
    "notify_on_create": _flag("Whether a new request is told of.", default=True),
    "notify_on_action": _flag("Whether each word on it is told of.", default=True),
    "enabled": _flag("Whether it counts.", default=True),
    "payload_schema": {**_FACTS, "description": "JSON Schema 2020-12 of what is asked for, without references."},
    "tools": {**_NAMES, "description": "Of tool_call: for which tools; empty is all."},
    "tool_tags": {**_NAMES, "description": "Of tool_call: for tools with one of these tags; empty is all."},
    "tool_kinds": {
        "type": "array",
        "items": {"enum": [kind.value for kind in ToolKind]},
        "maxItems": 100,
        "description": "Of tool_call: for tools of one of these kinds; empty is all.",
    },
    "requires_approval": {
        "type": ["boolean", "null"],
        "description": "Of tool_call: whether these calls need an approval; left out, if it selects tools by name, tag "
        "or kind. Otherwise it says who decides the calls for which the tool or the agent demands one.",
    },
    "agents": {**_NAMES, "description": "Of tool_call: for which agents; empty is all."},
    "metadata": _FACTS,
}
_READ_BACK = {"version": {"type": "integer", "minimum": 1}} | {name: {} for name in sorted(_ONLY_TOLD)}


_SENT = {"type": "object", "properties": {**_PROPERTIES, **_READ_BACK}, "additionalProperties": False}
NewDefinition = Annotated[Document, WithJsonSchema({**_SENT, "required": ["workflow_id", "name", "request_type"]})]
"""A whole definition, also as a response had it; members that only responses have are ignored."""
ChangedDefinition = Annotated[Document, WithJsonSchema({**_SENT, "required": ["name", "request_type"]})]
"""A whole definition with the `version` that its author has read; the path names the id, so the body may omit it."""


class TimedActionOut(BaseModel):
    """An action so many hours after the opening: remind approvers, admit further ones, or reassign."""

    after_hours: int | float
    do: Literal["remind", "widen", "reassign"]
    roles: list[str] = []
    people: list[str] = []


class DefinitionOut(BaseModel):
    """An approval definition.

    Attributes:
        source: Its owner: the tenant, or the deployment's profile, which is not changed here.
        version: The number of times that it was saved; 0 for the profile's.
        created_at: The time at which it was created; null for the profile's.
        updated_at: The time at which it was last saved; null for the profile's.
        problems: What it selects and is not there: tools, tags, kinds, agents. Then it may never apply.
        matched: The number of requests that were made under it and are kept, up to 10,000.
        last_matched_at: The time of the latest such request; null without any.
    """

    workflow_id: str
    name: str
    description: str
    request_type: str
    required_approvers: int
    rejections_to_close: int
    allowed_approver_roles: list[str]
    allowed_approvers: list[str]
    allow_self_approval: bool
    allow_service_accounts: bool
    independence_hours: int | float
    comment_required: bool
    signal_channel: bool
    auto_expire_hours: int | float
    actions: list[TimedActionOut]
    on_approved: Literal["carry_out", "wait"]
    notify_on_create: bool
    notify_on_action: bool
    enabled: bool
    payload_schema: Mapping[str, object] | None = None
    tools: list[str]
    tool_tags: list[str] = []
    tool_kinds: list[str] = []
    requires_approval: bool | None = None
    agents: list[str]
    metadata: Mapping[str, object]
    source: Source
    version: int
    created_at: datetime | None
    updated_at: datetime | None
    problems: list[ProblemOut] = []
    matched: int = 0
    last_matched_at: datetime | None = None


def definition_out(facts: DefinitionFacts) -> DefinitionOut:
    """Renders an approval definition."""
    definition = facts.definition
    return DefinitionOut.model_validate(
        {
            **as_document(definition),
            "source": definition.source,
            "version": definition.version,
            "created_at": definition.created_at,
            "updated_at": definition.updated_at,
            "problems": facts.problems,
            "matched": facts.matches.times,
            "last_matched_at": facts.matches.last_at,
        }
    )


def change_of(document: Mapping[str, JsonValue]) -> DefinitionChange:
    """Parses a changed definition; members that only responses have are ignored.

    Raises:
        Invalid: `definition_invalid` for a version that is no number.
    """
    version = document.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise Invalid("definition_invalid", "A version is a whole number; leave it out to replace whichever there is.")
    # A response has null for a schema that is not set, and null is no JSON Schema.
    left_out = _ONLY_TOLD | {"version"} | ({"payload_schema"} if document.get("payload_schema") is None else set())
    return DefinitionChange({name: value for name, value in document.items() if name not in left_out}, version)
