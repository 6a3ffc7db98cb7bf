"""The document form of an approval definition, in requests, rows and profiles (guide 4.2, 9.2 and 9.3).

{"workflow_id": "strict-publish", "name": "Strict Agent Publishing", "request_type": "agent_publish",
"required_approvers": 2, "allowed_approver_roles": ["admin", "agent_designer"], "auto_expire_hours": 48,
"actions": [{"after_hours": 24, "do": "remind"},
{"after_hours": 36, "do": "widen", "roles": ["cfo"], "people": ["u-17"]}]}
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from taskforce.core.domain.approvals.definitions import (
    BUILT_IN,
    CUSTOM,
    INVALID,
    TOOL_CALL,
    Definition,
    is_definition_id,
    type_of,
)
from taskforce.core.domain.approvals.terms import LONGEST, MOST_ACTIONS, ActionKind, Deciders, Terms, TimedAction
from taskforce.core.domain.document_reader import Part, Problems, shown
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import is_addressable
from taskforce.core.interfaces.tools import ToolKind

MAX_CHARACTERS: Final = 50_000
MAX_NAME: Final = 200
MAX_DESCRIPTION: Final = 2_000
MOST_APPROVERS: Final = 100

SchemaCheck = Callable[[object], Sequence[str]]
"""Returns the problems of a JSON Schema; none when it is valid."""

_HOUR = 3_600
_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_NEEDED = ("workflow_id", "name", "request_type")
_TERMS = (
    "required_approvers",
    "rejections_to_close",
    "allowed_approver_roles",
    "allowed_approvers",
    "allow_self_approval",
    "allow_service_accounts",
    "independence_hours",
    "comment_required",
    "signal_channel",
    "auto_expire_hours",
    "actions",
    "on_approved",
)
_FLAGS = ("notify_on_create", "notify_on_action", "enabled")
_CALLS = ("tools", "tool_tags", "tool_kinds", "agents")
_GATES = "requires_approval"
_OTHERS = ("description", "payload_schema", "metadata", *_CALLS, _GATES)
_EXPIRE = "expire"
_DOINGS = (*(kind.value for kind in ActionKind), _EXPIRE)
_CARRY_OUT, _WAIT = "carry_out", "wait"
_USUAL = Terms()
_KINDS = frozenset(kind.value for kind in ToolKind)


def parse(document: object, check_schema: SchemaCheck, *, signals: bool) -> Definition:
    """Parses a definition's document.

    Args:
        document: Parsed JSON or YAML; a field that is left out has its default.
        check_schema: Checks the JSON Schema of payloads.
        signals: Whether the deployment accepts decisions by signal.

    Returns:
        The definition, with the source `tenant` and version 0.

    Raises:
        Invalid: `definition_invalid`; `details["problems"]` lists every problem as `{"path": ..., "problem": ...}`.
    """
    problems = Problems(INVALID, "definition")
    # Before anything is read: a hostile document must not cost more than its size.
    problems.weigh(document, MAX_CHARACTERS)
    problems.refuse()
    parts = Part(document, "", problems).fields(_NEEDED, (*_TERMS, *_FLAGS, *_OTHERS))
    metadata = _object(parts, "metadata") or {}
    request_type = _request_type(parts, metadata)
    decides = type_of(request_type, metadata)
    found = {
        "definition_id": _word(parts, "workflow_id", _is_new_id, "1 to 64 of A-Z, a-z, 0-9, dot, _ and hyphen"),
        "name": parts["name"].text(MAX_NAME) if "name" in parts else "",
        "request_type": request_type,
        "terms": _terms(parts, problems, signals),
        "description": _description(parts),
        "payload_schema": _schema(parts, request_type, decides, check_schema),
        "metadata": metadata,
        **{name: _flag(parts, name, default=True) for name in _FLAGS},
        **{name: _only_for_calls(parts, name, decides) for name in _CALLS},
        _GATES: _gates(parts, decides),
    }
    problems.refuse()
    definition = Definition(**found)  # type: ignore[arg-type]  # each is read as its field's type
    # Written defaults lengthen the document; one that outgrows the limit could be saved and never parsed again.
    problems.weigh(as_document(definition), MAX_CHARACTERS)
    problems.refuse()
    return definition


def as_document(definition: Definition) -> dict[str, object]:
    """Serializes a definition with every default written out; `parse` reads it as an equal one."""
    terms = definition.terms
    # Left out where they are not set: workers of an earlier version, which run beside a new one, know no such fields.
    later = {"tool_tags": list(definition.tool_tags), "tool_kinds": list(definition.tool_kinds)}
    more = {"payload_schema": definition.payload_schema, _GATES: definition.requires_approval}
    said = {name: value for name, value in {**later, **more}.items() if value is not None and value != []}
    return {
        "workflow_id": definition.definition_id,
        "name": definition.name,
        "description": definition.description,
        "request_type": definition.request_type,
        "required_approvers": terms.required_approvers,
        "rejections_to_close": terms.rejections_to_close,
        "allowed_approver_roles": list(terms.allowed_roles),
        "allowed_approvers": list(terms.allowed_people),
        "allow_self_approval": terms.self_approval,
        "allow_service_accounts": terms.service_accounts,
        "independence_hours": _in_hours(terms.independence_seconds),
        "comment_required": terms.comment_required,
        "signal_channel": terms.signal_channel,
        "auto_expire_hours": _in_hours(terms.expire_seconds),
        "actions": [_action_document(one) for one in terms.actions],
        "on_approved": _CARRY_OUT if terms.carries_out else _WAIT,
        "notify_on_create": definition.notify_on_create,
        "notify_on_action": definition.notify_on_action,
        "enabled": definition.enabled,
        "tools": list(definition.tools),
        "agents": list(definition.agents),
        "metadata": definition.metadata,
        **said,
    }


def _terms(parts: Mapping[str, Part], problems: Problems, signals: bool) -> Terms:
    before = len(problems.found)
    if "signal_channel" in parts and parts["signal_channel"].value is True and not signals:
        parts["signal_channel"].say("is not for this deployment: its profile does not allow it (approvals).")
    people = parts["allowed_approvers"].names() if "allowed_approvers" in parts else ()
    # The default roles beside named people would widen who may decide beyond what the author wrote.
    roles = () if people else _USUAL.allowed_roles
    read = {
        "required_approvers": _count(parts, "required_approvers"),
        "rejections_to_close": _count(parts, "rejections_to_close"),
        "allowed_roles": parts["allowed_approver_roles"].names() if "allowed_approver_roles" in parts else roles,
        "allowed_people": people,
        "self_approval": _flag(parts, "allow_self_approval"),
        "service_accounts": _flag(parts, "allow_service_accounts"),
        "independence_seconds": _independence(parts),
        "comment_required": _flag(parts, "comment_required"),
        "signal_channel": _flag(parts, "signal_channel"),
        "carries_out": "on_approved" not in parts or parts["on_approved"].choice((_CARRY_OUT, _WAIT)) == _CARRY_OUT,
        # The two ways to state an expiry must agree, so they are read together.
        **_times(parts),
    }
    # With a malformed field replaced by its default, checks across fields would report problems that are not there.
    if len(problems.found) > before:
        return _USUAL
    try:
        return Terms(**read)  # type: ignore[arg-type]  # each is read as its field's type
    except Invalid as error:
        for problem in _listed(error.details.get("problems")):
            problems.add("", problem)
        return _USUAL


def _listed(problems: object) -> list[str]:
    return [str(one) for one in problems] if isinstance(problems, list) else []


def _times(parts: Mapping[str, Part]) -> dict[str, object]:
    """Reads expiry and timed actions; `actions` may state the expiry too, as in the guide (9.3)."""
    said = _seconds(parts["auto_expire_hours"]) if "auto_expire_hours" in parts else None
    ends: list[int] = []
    actions: list[TimedAction] = []
    for one in parts["actions"].items(MOST_ACTIONS + 1, least=0) if "actions" in parts else []:
        _action(one, actions, ends)
    if len(ends) > 1:
        parts["actions"].say("must not have 'expire' more than once.")
    if ends and said is not None and ends[0] != said:
        parts["actions"].say("must expire when 'auto_expire_hours' says so; leave one of them out.")
    return {"expire_seconds": ends[0] if ends else said or _USUAL.expire_seconds, "actions": tuple(actions)}


def _action(part: Part, actions: list[TimedAction], ends: list[int]) -> None:
    inner = part.fields(("after_hours", "do"), ("roles", "people"))
    doing = inner["do"].choice(_DOINGS) if "do" in inner else ""
    after = _seconds(inner["after_hours"]) if "after_hours" in inner else None
    to = Deciders(*(inner[name].names() if name in inner else () for name in ("roles", "people")))
    if doing == _EXPIRE and to:
        part.say("names somebody; nobody is needed for a request to expire.")
    if not doing or after is None:
        return
    if doing == _EXPIRE:
        ends.append(after)
    else:
        actions.append(TimedAction(ActionKind(doing), after, to))


def _action_document(action: TimedAction) -> dict[str, object]:
    named = {"roles": list(action.to.roles), "people": list(action.to.people)}
    given = {name: who for name, who in named.items() if who}
    return {"after_hours": _in_hours(action.after_seconds), "do": action.kind.value, **given}


def _seconds(part: Part) -> int | None:
    hours = part.value
    if isinstance(hours, int | float) and not isinstance(hours, bool) and 0 < hours <= LONGEST // _HOUR:
        # A tiny fraction of an hour would round to 0 seconds, which the terms refuse with a message about another
        # field.
        return max(1, round(hours * _HOUR))
    part.say(f"must be hours, above 0 and at most {LONGEST // _HOUR}.")
    return None


def _independence(parts: Mapping[str, Part]) -> int:
    name = "independence_hours"
    if name not in parts:
        return _USUAL.independence_seconds
    # 0 turns the check of independence off; for the other durations 0 would mean at once, and is refused.
    if parts[name].value == 0 and not isinstance(parts[name].value, bool):
        return 0
    return _seconds(parts[name]) or 0


def _in_hours(seconds: int) -> int | float:
    return seconds / _HOUR if seconds % _HOUR else seconds // _HOUR


def _is_new_id(text: str) -> bool:
    return is_definition_id(text) and is_addressable(text)


def _request_type(parts: Mapping[str, Part], metadata: Mapping[str, object]) -> str:
    def is_type(text: str) -> bool:
        return _TYPE.fullmatch(text) is not None

    looks = "1 to 64 of a-z, 0-9, dot, underscore, hyphen, a letter first"
    named = metadata.get("custom_type")
    found = _word(parts, "request_type", is_type, looks)
    if found == CUSTOM and named is not None and not (isinstance(named, str) and is_type(named)):
        parts["metadata"].say(f"'custom_type' must be {looks}.")
    return found


def _schema(
    parts: Mapping[str, Part], request_type: str, decides: str, check: SchemaCheck
) -> Mapping[str, object] | None:
    schema = _object(parts, "payload_schema")
    if schema is None:
        if request_type not in ("", CUSTOM, *BUILT_IN) and "payload_schema" not in parts:
            part = parts["request_type"]
            # Required of custom types, so that a misspelt built-in type is refused instead of becoming a type of its
            # own.
            part.say(f"needs a 'payload_schema', as it is none of {', '.join(BUILT_IN)}.{_meant(part, request_type)}")
        return None
    if decides == TOOL_CALL:
        parts["payload_schema"].say("is not for tool_call: the tool's own schema counts.")
    for problem in check(schema):
        parts["payload_schema"].say(problem)
    return schema


def _meant(part: Part, name: str) -> str:
    return part.problems.hint(name, BUILT_IN)


def _only_for_calls(parts: Mapping[str, Part], name: str, decides: str) -> tuple[str, ...]:
    found = parts[name].names() if name in parts else ()
    if found and decides != TOOL_CALL:
        parts[name].say(f"is for {TOOL_CALL} only.")
    if name == "tool_kinds" and not set(found) <= _KINDS:
        parts[name].say(f"holds kinds of tools: {', '.join(sorted(_KINDS))}.")
    return found


def _gates(parts: Mapping[str, Part], decides: str) -> bool | None:
    # A response has null where the author has said nothing.
    if _GATES not in parts or parts[_GATES].value is None:
        return None
    if decides != TOOL_CALL:
        parts[_GATES].say(f"is for {TOOL_CALL} only.")
    return parts[_GATES].flag()


def _word(parts: Mapping[str, Part], name: str, fits: Callable[[str], bool], looks: str) -> str:
    if name not in parts:
        return ""
    value = parts[name].value
    if isinstance(value, str) and fits(value):
        return value
    parts[name].say(f"must be {looks}, not {shown(value)}.")
    return ""


def _description(parts: Mapping[str, Part]) -> str:
    # `text` refuses an empty text, which a description may be.
    said = "description" in parts and parts["description"].value != ""
    return parts["description"].text(MAX_DESCRIPTION) if said else ""


def _object(parts: Mapping[str, Part], name: str) -> Mapping[str, object] | None:
    if name not in parts:
        return None
    value = parts[name].value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    parts[name].say("must be an object.")
    return None


def _count(parts: Mapping[str, Part], name: str) -> int:
    return parts[name].number(1, MOST_APPROVERS) if name in parts else 1


def _flag(parts: Mapping[str, Part], name: str, *, default: bool = False) -> bool:
    return parts[name].flag() if name in parts else default
