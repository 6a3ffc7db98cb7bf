"""The document form of a tenant's policy: its parser, which lists all problems, and its canonical serialization.

    {"version": 1, "rules": [
        {"id": "no-weekend-runs", "effect": "deny", "description": "Nobody works on weekends.",
         "actions": ["agent:execute"], "resources": [{"type": "agent"}], "roles": ["operator"],
         "when": [{"time": {"days": ["sat", "sun"], "zone": "Europe/Berlin"}}]},
        {"id": "payroll", "effect": "allow", "actions": ["agent:execute", "agent:read"],
         "resources": [{"type": "agent", "ids": ["payroll-bot"]}], "users": ["u-17"],
         "when": [{"attribute": "user.department", "in": ["finance", "people"]},
                  {"attribute": "context.channel", "equals": "api"},
                  {"resource_tags": {"has_all": ["internal"]}},
                  {"time": {"from": "22:00", "to": "06:00", "days": ["fri"], "zone": "UTC"}}]}]}

`actions` are permissions, `agent:*` and the like, or `*`. An attribute is compared by one of `equals`, `not_equals`,
`in`, `not_in` and `present`; what follows `user.` or `context.` is one name, dots and all. Tags by `has_any` or
`has_all`. Hours are `HH:MM`, `to` is the first minute outside and may be `24:00`. For the semantics see `policies`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from taskforce.core.domain.access import policies
from taskforce.core.domain.access.policies import (
    AttributeCondition,
    Condition,
    Effect,
    Key,
    Operator,
    Policy,
    Rule,
    Selector,
    TagCondition,
    TimeWindow,
)
from taskforce.core.domain.document_reader import MAX_VALUES, Part, Problems, shown
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.core.interfaces.identity import ResourceType

VERSION = 1
UNREADABLE = "policy_unreadable"
"""The code of the error for a stored document that no longer parses."""
MAX_CHARACTERS = 1_000_000
MAX_RULES = 500
MAX_CONDITIONS = 20
MAX_DESCRIPTION = 500
MAX_NUMBER = 2**53

_RULE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_COMPARISONS = ("equals", "not_equals", "in", "not_in", "present")
_KINDS = ("attribute", "resource_tags", "time")
_TAGGED = ("has_any", "has_all")
_SOURCES = ("user", "context")
_TYPES = tuple(kind.value for kind in ResourceType)
_WRITTEN = "a permission, one like 'agent:*', or '*'"


def parse(document: object) -> Policy:
    """Parses a policy document.

    Args:
        document: Parsed JSON.

    Returns:
        The policy.

    Raises:
        Invalid: `policy_invalid`; `details["problems"]` lists every problem as `{"path": ..., "problem": ...}`, the
            first 1,000 of `details["count"]`.
    """
    problems = Problems("policy_invalid", "policy document")
    problems.weigh(document, MAX_CHARACTERS)
    problems.refuse()
    parts = Part(document, "", problems).fields(("version", "rules"))
    if "version" in parts and policies.key(parts["version"].value) != ("number", VERSION):
        parts["version"].say(f"must be {VERSION}.")
    rules = [_rule(part) for part in parts["rules"].items(MAX_RULES, least=0)] if "rules" in parts else []
    _refuse_twins(rules, problems)
    problems.refuse()
    return Policy(tuple(rules))


def parse_stored(document: Mapping[str, object]) -> Policy:
    """Parses a document that was saved, perhaps by another version of the product.

    Raises:
        Unavailable: `policy_unreadable`: it no longer parses. It is never taken as empty: that would lift its denials.
    """
    try:
        return parse(document)
    except Invalid:
        raise unreadable() from None


def unreadable() -> Unavailable:
    """Returns the error for a stored document that no longer parses."""
    text = "The policy document cannot be read by this version; until an administrator saves a new one, nobody passes."
    return Unavailable(UNREADABLE, text)


def _refuse_twins(rules: list[Rule], problems: Problems) -> None:
    first: dict[str, int] = {}
    for at, rule in enumerate(rules):
        if rule.rule_id and first.setdefault(rule.rule_id, at) != at:
            problems.add(f"rules[{at}].id", f"is the id of rules[{first[rule.rule_id]}] as well.")


def _rule(part: Part) -> Rule:
    parts = part.fields(("id", "effect", "actions"), ("description", "resources", "roles", "users", "when"))
    effect = parts["effect"].choice([one.value for one in Effect]) if "effect" in parts else ""
    allows = effect == Effect.ALLOW.value
    rule = Rule(
        _rule_id(parts["id"]) if "id" in parts else "",
        Effect.ALLOW if allows else Effect.DENY,
        frozenset(_actions(parts["actions"], allows)) if "actions" in parts else frozenset(),
        parts["description"].text(MAX_DESCRIPTION) if "description" in parts else "",
        _resources(parts["resources"]) if "resources" in parts else None,
        parts["roles"].texts() if "roles" in parts else None,
        parts["users"].texts() if "users" in parts else None,
        tuple(_conditions(parts["when"], allows)) if "when" in parts else (),
    )
    if allows:
        _require_names(rule, part)
    return rule


def _rule_id(part: Part) -> str:
    if isinstance(part.value, str) and _RULE_ID.fullmatch(part.value):
        return part.value
    part.say("must be 1 to 64 letters, digits, dots, underscores or hyphens, a letter or digit first.")
    return ""


def _actions(part: Part, allows: bool) -> Iterator[str]:
    for one in part.items(MAX_VALUES):
        action = one.choice(policies.ACTIONS, _WRITTEN)
        reserved = sorted(given.value for given in policies.ACTIONS.get(action, frozenset()) & policies.RESERVED)
        if allows and reserved:
            one.say(f"is not for allow rules: only a role gives {', '.join(reserved)}.")
        yield action


def _resources(part: Part) -> tuple[Selector, ...]:
    found = {_selector(one) for one in part.items(MAX_VALUES)}
    return tuple(sorted(found, key=lambda one: (one.type.value, sorted(one.ids or ()))))


def _selector(part: Part) -> Selector:
    parts = part.fields(("type",), ("ids",))
    kind = parts["type"].choice(_TYPES) if "type" in parts else ""
    return Selector(ResourceType(kind or _TYPES[0]), parts["ids"].texts() if "ids" in parts else None)


def _require_names(rule: Rule, part: Part) -> None:
    by_tags = any(isinstance(condition, TagCondition) for condition in rule.when)
    if rule.resources is None:
        part.say("must have 'resources': an allow rule names what it is about.")
    elif not by_tags and any(selector.ids is None for selector in rule.resources):
        part.say("must name its resources, by 'ids' for each type or by a condition on 'resource_tags'.")


def _conditions(part: Part, allows: bool) -> Iterator[Condition]:
    for one in part.items(MAX_CONDITIONS, least=0):
        parts = one.fields((), (*_KINDS, *_COMPARISONS))
        kind = one.one_of(_KINDS)
        for name in _COMPARISONS if kind in ("resource_tags", "time") else ():
            if name in parts:
                parts[name].say("belongs to a condition on an attribute.")
        if kind and (found := _READERS[kind](one, parts, allows)):
            yield found


def _attribute(part: Part, parts: Mapping[str, Part], allows: bool) -> Condition | None:
    source, _, name = parts["attribute"].text().partition(".")
    if source and (source not in _SOURCES or not name):
        parts["attribute"].say(f"must be 'user.' or 'context.' and a name.{part.problems.hint(source, _SOURCES)}")
    chosen = part.one_of(_COMPARISONS)
    if chosen is None:
        return None
    operator = Operator.ABSENT if chosen == "present" and parts[chosen].value is False else Operator(chosen)
    if allows and operator in policies.NEGATIVE:
        parts[chosen].say("is for deny rules only: a fact that is missing must not give a right.")
    return AttributeCondition(source, name, operator, _values(parts[chosen]))


def _values(part: Part) -> frozenset[Key]:
    comparison = part.path.rpartition(".")[2]
    if comparison in ("in", "not_in"):
        return frozenset(_scalar(one) for one in part.items(MAX_VALUES))
    if comparison in ("equals", "not_equals"):
        return frozenset({_scalar(part)})
    part.flag()
    return frozenset()


def _scalar(part: Part) -> Key:
    match part.value:
        # Before numbers, for `True` is an int in Python.
        case bool() as flag:
            return "flag", flag
        case int() | float() as number if abs(number) <= MAX_NUMBER:
            return "number", int(number) if number == int(number) else number
        case str():
            return "text", part.text()
    part.say("must be a text, a number up to 2^53, true or false; a missing attribute is asked for by 'present'.")
    return "text", ""


def _tags(part: Part, parts: Mapping[str, Part], _: bool) -> Condition | None:
    inner = parts["resource_tags"].fields((), _TAGGED)
    chosen = parts["resource_tags"].one_of(_TAGGED)
    return TagCondition(inner[chosen].texts() if chosen else frozenset(), every=chosen == "has_all")


def _window(part: Part, parts: Mapping[str, Part], _: bool) -> Condition | None:
    inner = parts["time"].fields(("zone",), ("days", "from", "to"))
    if inner.keys() == {"zone"}:
        parts["time"].say("must have at least one of days, from, to.")
    zone = inner["zone"].choice(_zones(), "an IANA time zone") if "zone" in inner else ""
    begins = _minute(inner["from"], policies.DAY_MINUTES - 1) if "from" in inner else 0
    ends = _minute(inner["to"], policies.DAY_MINUTES) if "to" in inner else policies.DAY_MINUTES
    if begins == ends:
        parts["time"].say("ends when it begins; leave both 'from' and 'to' out for the whole day.")
    days = inner["days"].items(MAX_VALUES) if "days" in inner else []
    named = frozenset(policies.DAYS.index(day) for one in days if (day := one.choice(policies.DAYS)))
    return TimeWindow(ZoneInfo(zone or "UTC"), named if "days" in inner else frozenset(range(7)), begins, ends)


def _minute(part: Part, latest: int) -> int:
    if isinstance(part.value, str) and _HOURS.fullmatch(part.value):
        minute = int(part.value[:2]) * 60 + int(part.value[3:])
        if minute <= latest:
            return minute
    part.say(f"must be a time of day from '00:00' to '{_hours(latest)}', not {shown(part.value)}.")
    # A value that no other time has, so that a malformed time reports no second problem about the window.
    return -1 if latest == policies.DAY_MINUTES else 0


def _hours(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


_READERS = {"attribute": _attribute, "resource_tags": _tags, "time": _window}


@cache
def _zones() -> frozenset[str]:
    # `localtime` means another zone on every machine, so the same rule would decide differently there.
    return frozenset(available_timezones()) - {"localtime", "Factory"}


def document_of(policy: Policy) -> dict[str, object]:
    """Serializes a policy; equal policies give equal documents, and rules keep their order."""
    return {"version": VERSION, "rules": [_rule_document(rule) for rule in policy.rules]}


def canonical(policy: Policy) -> str:
    """Serializes a policy as canonical text for storage and hashes: sorted keys, no spaces."""
    return json.dumps(document_of(policy), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _rule_document(rule: Rule) -> dict[str, object]:
    stated: dict[str, object] = {
        "description": rule.description or None,
        "resources": None if rule.resources is None else [_selector_document(one) for one in rule.resources],
        "roles": None if rule.roles is None else sorted(rule.roles),
        "users": None if rule.users is None else sorted(rule.users),
        "when": [_condition_document(one) for one in rule.when] or None,
    }
    always = {"id": rule.rule_id, "effect": rule.effect.value, "actions": sorted(rule.actions)}
    return always | {name: value for name, value in stated.items() if value is not None}


def _selector_document(selector: Selector) -> dict[str, object]:
    kind: dict[str, object] = {"type": selector.type.value}
    return kind if selector.ids is None else kind | {"ids": sorted(selector.ids)}


def _condition_document(condition: Condition) -> dict[str, object]:
    match condition:
        case AttributeCondition():
            return {"attribute": f"{condition.source}.{condition.name}"} | _comparison(condition)
        case TagCondition():
            return {"resource_tags": {"has_all" if condition.every else "has_any": sorted(condition.tags)}}
        case TimeWindow():
            hours = {"from": _hours(condition.begins), "to": _hours(condition.ends), "zone": condition.zone.key}
            return {"time": {"days": [policies.DAYS[day] for day in sorted(condition.days)], **hours}}


def _comparison(condition: AttributeCondition) -> dict[str, object]:
    values = [value for _, value in sorted(condition.values, key=lambda one: (one[0], json.dumps(one[1])))]
    match condition.operator:
        case Operator.PRESENT | Operator.ABSENT:
            return {"present": condition.operator is Operator.PRESENT}
        case Operator.EQUALS | Operator.NOT_EQUALS:
            return {condition.operator.value: values[0]}
        case _:
            return {condition.operator.value: values}
