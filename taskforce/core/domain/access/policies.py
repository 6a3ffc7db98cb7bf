"""The policy engine: decides access requests by roles and by the allow and deny rules of a tenant's policy document.

The decision is made in this order:

1. A resource of another tenant is denied, whatever roles and rules say.
2. A deny rule that applies denies, before roles and all allow rules, wherever it stands in the document.
3. A permission of the user's roles allows.
4. An allow rule that applies allows.
5. All else is denied.

A rule applies when every key that it states matches: each key narrows it, so that `roles` and `users` together mean
those users only while they hold one of those roles. For the document's form and limits see `policy_documents`.

**Limits of allow rules.** A custom role grants no more than its maker holds; a document cannot evade that:

- An allow rule never grants an administration permission (`RESERVED`): whoever could grant one by a rule could grant
  themselves every other right of the tenant.
- It grants an action on resources that it names, by id or by tag, and never on a whole kind: a request without a
  resource id (a listing, a creation) needs the role permission.
- Its author must hold the permissions that it grants (`check_author`).

**Limits of deny rules.** A deny rule never takes `policy:manage` from a holder of the role `admin`: a tenant that
denied it to everybody could not repair its document.

**Missing attributes.** A condition on a missing attribute does not hold. Only `not_equals`, `not_in` and
`present: false` do, the exact opposites of `equals`, `in` and `present: true`; they are for deny rules only. So a
missing attribute can deny, and never allow.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.principals import require
from taskforce.core.interfaces.identity import Permission, PolicyDecision, ResourceType, UserContext

_ADMINISTRATION = "tenant:manage", "user:manage", "role:manage", "policy:manage", "audit:read", "system:config"
RESERVED = frozenset(Permission(value) for value in _ADMINISTRATION)
"""Permissions that only a role can grant."""

ACTIONS: Mapping[str, frozenset[Permission]] = {
    "*": frozenset(Permission),
    **{
        f"{kind.value}:*": frozenset(one for one in Permission if one.value.startswith(f"{kind.value}:"))
        for kind in ResourceType
    },
    **{one.value: frozenset({one}) for one in Permission},
}
"""Permissions by the notation of actions in a rule."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60

Scalar = str | int | float | bool
Key = tuple[str, Scalar]
_OWN_FACTS = ("user_id", "username", "email", "roles")


class Effect(StrEnum):
    """The effect of a rule that applies."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource of an access request.

    Attributes:
        type: The kind of resource.
        id: Id of the resource; None for all of the kind, or for one that does not exist yet.
        tenant_id: The resource's tenant.
        tags: The resource's tags.
        agent_id: Of a tool, the agent in whose run it is called; else None.
    """

    type: ResourceType
    id: str | None
    tenant_id: str
    tags: frozenset[str] = frozenset()
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """An access request; see `evaluate`."""

    user: UserContext
    action: Permission
    resource: Resource
    context: Mapping[str, object]
    now: datetime


def key(value: object) -> Key | None:
    """Returns the key by which scalars are compared: 1 equals 1.0, but not true or "1"; None for other values."""
    # Asked before numbers: `True` is an int in Python.
    if isinstance(value, bool):
        return "flag", value
    if isinstance(value, int | float):
        return "number", value
    return ("text", value) if isinstance(value, str) else None


def _keys(value: object) -> frozenset[Key]:
    values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    return frozenset(found for one in values if (found := key(one)) is not None)


class Operator(StrEnum):
    """The comparison of an attribute; `absent` is written `present: false`."""

    EQUALS = "equals"
    IN = "in"
    PRESENT = "present"
    NOT_EQUALS = "not_equals"
    NOT_IN = "not_in"
    ABSENT = "absent"


NEGATIVE = frozenset({Operator.NOT_EQUALS, Operator.NOT_IN, Operator.ABSENT})
"""Operators that hold for a missing attribute; for deny rules only."""


@dataclass(frozen=True, slots=True)
class AttributeCondition:
    """A condition on an attribute of the user or the request; a list attribute matches by any of its values.

    Attributes:
        source: `user` or `context`.
        name: Name of the attribute; no claim can replace a user's `user_id`, `username`, `email` and `roles`.
        operator: The comparison.
        values: The compared values; empty for `present` and `absent`.
    """

    source: str
    name: str
    operator: Operator
    values: frozenset[Key] = frozenset()

    def why_not(self, question: Question) -> str | None:
        """Returns why the condition does not hold, without the attribute's value; None when it holds."""
        fact = self._fact(question)
        met = fact is not None and (not self.values or bool(_keys(fact) & self.values))
        # A missing attribute never matches, so it satisfies the negative operators only.
        if met is (self.operator not in NEGATIVE):
            return None
        if fact is None:
            return f"{self.source}.{self.name} is missing"
        return f"{self.source}.{self.name} is {'one' if met else 'none'} of what it states"

    def _fact(self, question: Question) -> object:
        if self.source == "context":
            return question.context.get(self.name)
        if self.name in _OWN_FACTS:
            found: object = getattr(question.user, self.name)
            return found
        return question.user.attributes.get(self.name)


@dataclass(frozen=True, slots=True)
class TagCondition:
    """A condition on the resource's tags: all of these, or at least one."""

    tags: frozenset[str]
    every: bool

    def why_not(self, question: Question) -> str | None:
        """Returns why the condition does not hold; None when it holds."""
        found = self.tags & question.resource.tags
        if found and (not self.every or found == self.tags):
            return None
        return (
            f"the resource has not all of {len(self.tags)} tags" if self.every else "the resource has none of the tags"
        )


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A condition on the hours of the week, in the local time of a zone.

    A window whose end is not after its beginning spans midnight and belongs to the day on which it begins. Local time
    is compared: an hour that a change to summer time skips is in no window, and a repeated hour counts twice.

    Attributes:
        zone: The time zone.
        days: Days on which it begins, 0 for Monday.
        begins: First minute of the day.
        ends: First minute of the day after the window, up to 1440.
    """

    zone: ZoneInfo
    days: frozenset[int] = frozenset(range(7))
    begins: int = 0
    ends: int = DAY_MINUTES

    def why_not(self, question: Question) -> str | None:
        """Returns why the condition does not hold; None when it holds."""
        local = question.now.astimezone(self.zone)
        if self._holds(local.weekday(), local.hour * 60 + local.minute):
            return None
        return f"{DAYS[local.weekday()]} {local.hour:02}:{local.minute:02} in {self.zone.key} is outside its hours"

    def _holds(self, day: int, minute: int) -> bool:
        if self.begins < self.ends:
            return day in self.days and self.begins <= minute < self.ends
        # The hours after midnight belong to the day on which the window began.
        yesterday = (day - 1) % 7
        return (day in self.days and minute >= self.begins) or (yesterday in self.days and minute < self.ends)


Condition = AttributeCondition | TagCondition | TimeWindow


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector of resources of one kind: all, or those with these ids."""

    type: ResourceType
    ids: frozenset[str] | None = None

    def meets(self, resource: Resource) -> bool:
        """Tells whether the selector matches a resource."""
        return resource.type is self.type and (self.ids is None or resource.id in self.ids)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a policy document; None stands for a key that it does not state.

    Attributes:
        rule_id: Id, unique within the document.
        effect: Allow or deny.
        actions: Actions as written, keys of `ACTIONS`.
        description: Display text; shown to users whom the rule denies.
        resources: Selectors of which one must match.
        roles: Roles of which the user must hold one.
        users: Ids of which the user must have one.
        when: Conditions that must all hold.
        permissions: The permissions that `actions` stand for.
    """

    rule_id: str
    effect: Effect
    actions: frozenset[str]
    description: str = ""
    resources: tuple[Selector, ...] | None = None
    roles: frozenset[str] | None = None
    users: frozenset[str] | None = None
    when: tuple[Condition, ...] = ()
    permissions: frozenset[Permission] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Derived once, since every access request asks each rule.
        meant = frozenset(one for action in self.actions for one in ACTIONS.get(action, ()))
        object.__setattr__(self, "permissions", meant)

    def why_not(self, question: Question) -> str | None:
        """Returns why the rule does not apply to an access request; None when it applies."""
        return next(self._objections(question), None)

    def _objections(self, question: Question) -> Iterator[str]:
        if question.action not in self.permissions:
            yield f"it is not about {question.action.value}"
        if self.resources is not None and not any(one.meets(question.resource) for one in self.resources):
            yield f"it is not about this {question.resource.type.value}"
        if self.roles is not None and not self.roles & question.user.roles:
            yield "the user holds none of its roles"
        if self.users is not None and question.user.user_id not in self.users:
            yield "the user is none of its users"
        for index, condition in enumerate(self.when):
            if why := condition.why_not(question):
                yield f"when[{index}]: {why}"
        yield from self._bounds(question)

    def _bounds(self, question: Question) -> Iterator[str]:
        # The parser refuses such rules too; rules that a program builds never pass it.
        if self.effect is Effect.ALLOW and question.action in RESERVED:
            yield f"only a role gives {question.action.value}"
        if self.effect is Effect.ALLOW and question.resource.id is None:
            yield "an allow rule is about named resources, and none is named"
        if self.effect is Effect.DENY and question.action is Permission.POLICY_MANAGE and question.user.is_admin():
            yield "no rule takes policy:manage from the role admin"


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a tenant; without a document they are empty, and roles alone decide."""

    rules: tuple[Rule, ...] = ()

    @property
    def attributes(self) -> frozenset[str]:
        """Names of the users' attributes that its conditions read."""
        read = (one for rule in self.rules for one in rule.when if isinstance(one, AttributeCondition))
        return frozenset(one.name for one in read if one.source == "user" and one.name not in _OWN_FACTS)

    def asks_for_tags(self, action: Permission, resource_type: ResourceType) -> bool:
        """Tells whether a decision can depend on the resource's tags, so that they must be loaded."""
        about = (rule for rule in self.rules if action in rule.permissions)
        meant = (
            rule for rule in about if rule.resources is None or any(one.type is resource_type for one in rule.resources)
        )
        return any(isinstance(condition, TagCondition) for rule in meant for condition in rule.when)


class Base(StrEnum):
    """The state of an access request before the rules: permission held or missing, or another tenant's resource."""

    HELD = "held"
    MISSING = "missing"
    OTHER_TENANT = "other_tenant"


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """The outcome of a rule, with the reason for people; a deny rule overrides an allow rule that applies."""

    rule_id: str
    effect: Effect
    applies: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision with its base and the outcome of every rule; without outcomes for another tenant's resource."""

    decision: PolicyDecision
    base: Base
    rules: tuple[RuleOutcome, ...] = ()

    @property
    def matched(self) -> tuple[str, ...]:
        """Returns the ids of the rules that apply."""
        return tuple(one.rule_id for one in self.rules if one.applies)


def evaluate(
    policy: Policy,
    user: UserContext,
    action: Permission,
    resource: Resource,
    *,
    context: Mapping[str, object],
    now: datetime,
) -> Explained:
    """Decides an access request, in the order of this module's docstring.

    Args:
        policy: The rules of the user's tenant.
        user: The user.
        action: The required permission.
        resource: The resource.
        context: Attributes of the request that the product has established itself, never ones that a caller sends.
        now: The time, with a time zone.

    Returns:
        The decision, its base, and for each rule whether and why it applies.

    Raises:
        Invalid: `time_without_zone`.
    """
    if now.tzinfo is None:
        raise Invalid("time_without_zone", "A time without its zone cannot be compared with the hours of a rule.")
    # Before any rule is read, so that no document can open another tenant's resource.
    if resource.tenant_id != user.tenant_id:
        return Explained(PolicyDecision(False, "the resource belongs to another tenant"), Base.OTHER_TENANT)
    question = Question(user, action, resource, context, now)
    outcomes = tuple(_outcome(rule, question) for rule in policy.rules)
    base = Base.HELD if user.has_permission(action) else Base.MISSING
    applying = [rule for rule, outcome in zip(policy.rules, outcomes, strict=True) if outcome.applies]
    return Explained(_decision(base, action, applying), base, outcomes)


def _outcome(rule: Rule, question: Question) -> RuleOutcome:
    why_not = rule.why_not(question)
    return RuleOutcome(rule.rule_id, rule.effect, why_not is None, why_not or "all that it states holds")


def _decision(base: Base, action: Permission, applying: Collection[Rule]) -> PolicyDecision:
    denying = [rule for rule in applying if rule.effect is Effect.DENY]
    if denying:
        return PolicyDecision(False, f"denied by {_named(denying[0])}")
    if base is Base.HELD:
        return PolicyDecision(True, f"role permission {action.value} is held")
    for rule in applying:
        return PolicyDecision(True, f"allowed by {_named(rule)}")
    return PolicyDecision(False, f"role permission {action.value} is missing")


def _named(rule: Rule) -> str:
    return f"rule '{rule.rule_id}': {rule.description}" if rule.description else f"rule '{rule.rule_id}'"


def check_author(proposed: Policy, current: Policy, held: Collection[Permission]) -> None:
    """Requires that an author holds the permissions of added allow rules; unchanged rules may stay.

    Args:
        proposed: The policy that is to be saved.
        current: The policy in force.
        held: The author's permissions.

    Raises:
        Forbidden: `permission_denied`, naming a missing permission.
    """
    kept = frozenset(current.rules)
    added = [rule for rule in proposed.rules if rule.effect is Effect.ALLOW and rule not in kept]
    for permission in sorted({one for rule in added for one in rule.permissions}, key=lambda one: one.value):
        require(held, permission)
