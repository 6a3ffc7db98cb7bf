"""The rules of who may do what: roles first, then the allow and deny rules of the tenant's policy document.

How a question is decided, in this order:

1. Another tenant's resource is denied, whatever anybody holds and whatever any rule says.
2. A deny rule that applies denies. It wins over roles and over every allow rule, wherever it stands in the document.
3. The user's permissions hold the action: allowed.
4. An allow rule that applies allows.
5. Everything else is denied.

A rule applies when every key that it states fits: each key narrows it, so that `roles` and `users` together mean those
users only while they hold one of those roles. The document's form and its limits stand in `policy_documents`.

**What an allow rule cannot do.** A custom role holds no more than its maker; a document is no way around that:

- It never gives an administration permission (`RESERVED`). Whoever could give one of these by a rule could give
  themselves every other right of the tenant.
- It gives an action on resources that it names, by id or by tag, and never on a whole kind: a request without a
  resource id (a listing, a creation) takes the role permission. Whole kinds are what roles are for.
- Its author must hold what it gives (`check_author`).

**What a deny rule cannot do.** It never takes `policy:manage` from a holder of the role `admin`: a tenant that could
deny that to everybody could not repair its own document.

**Facts that are missing.** A condition about an attribute that is missing does not hold. Only `not_equals`, `not_in`
and `present: false` do, the exact opposites of `equals`, `in` and `present: true`; they are for deny rules only. So a
missing fact can take a right away, and never gives one.
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
"""What only a role can give."""

ACTIONS: Mapping[str, frozenset[Permission]] = {
    "*": frozenset(Permission),
    **{
        f"{kind.value}:*": frozenset(one for one in Permission if one.value.startswith(f"{kind.value}:"))
        for kind in ResourceType
    },
    **{one.value: frozenset({one}) for one in Permission},
}
"""Every way to write actions in a rule, and what it means."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60

Scalar = str | int | float | bool
Key = tuple[str, Scalar]
_OWN_FACTS = ("user_id", "username", "email", "roles")


class Effect(StrEnum):
    """What a rule does where it applies."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked about.

    Attributes:
        type: Its kind.
        id: Which one; None for all of the kind, or for one that does not exist yet.
        tenant_id: Whose it is.
        tags: Its tags; none for what has no tags.
    """

    type: ResourceType
    id: str | None
    tenant_id: str
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Question:
    """May this user do this to that, now? See `evaluate`."""

    user: UserContext
    action: Permission
    resource: Resource
    context: Mapping[str, object]
    now: datetime


def key(value: object) -> Key | None:
    """What makes two plain values the same: 1 and 1.0 are, 1, true and "1" are not; None for what is not plain."""
    if isinstance(value, bool):
        return "flag", value
    if isinstance(value, int | float):
        return "number", value
    return ("text", value) if isinstance(value, str) else None


def _keys(value: object) -> frozenset[Key]:
    values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    return frozenset(found for one in values if (found := key(one)) is not None)


class Operator(StrEnum):
    """How an attribute is compared; `absent` is written `present: false`."""

    EQUALS = "equals"
    IN = "in"
    PRESENT = "present"
    NOT_EQUALS = "not_equals"
    NOT_IN = "not_in"
    ABSENT = "absent"


NEGATIVE = frozenset({Operator.NOT_EQUALS, Operator.NOT_IN, Operator.ABSENT})
"""What holds for a missing attribute, and stands in deny rules only."""


@dataclass(frozen=True, slots=True)
class AttributeCondition:
    """A fact about the user or the request; one that is a list holds each of its values.

    Attributes:
        source: `user` or `context`.
        name: The attribute; `user_id`, `username`, `email` and `roles` of a user are ours, no claim can replace them.
        operator: How it is compared.
        values: With what, none for `present` and `absent`.
    """

    source: str
    name: str
    operator: Operator
    values: frozenset[Key] = frozenset()

    def why_not(self, question: Question) -> str | None:
        """Why it does not hold; None when it holds. The attribute's value is not repeated."""
        fact = self._fact(question)
        met = fact is not None and (not self.values or bool(_keys(fact) & self.values))
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
    """Tags of the resource: all of these, or at least one."""

    tags: frozenset[str]
    every: bool

    def why_not(self, question: Question) -> str | None:
        """Why it does not hold; None when it holds."""
        found = self.tags & question.resource.tags
        if found and (not self.every or found == self.tags):
            return None
        return (
            f"the resource has not all of {len(self.tags)} tags" if self.every else "the resource has none of the tags"
        )


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Hours of the week as the clocks on the walls of a zone show them.

    A window whose end is not after its beginning runs over midnight and belongs to the day on which it begins. What is
    compared is the local clock: an hour that a change to summer time leaves out is in no window, an hour that comes
    twice counts both times.

    Attributes:
        zone: Whose clocks.
        days: On which days it begins, 0 for Monday.
        begins: Its first minute of the day.
        ends: The first minute that is no longer in it, up to 1440.
    """

    zone: ZoneInfo
    days: frozenset[int] = frozenset(range(7))
    begins: int = 0
    ends: int = DAY_MINUTES

    def why_not(self, question: Question) -> str | None:
        """Why it does not hold; None when it holds."""
        local = question.now.astimezone(self.zone)
        if self._holds(local.weekday(), local.hour * 60 + local.minute):
            return None
        return f"{DAYS[local.weekday()]} {local.hour:02}:{local.minute:02} in {self.zone.key} is outside its hours"

    def _holds(self, day: int, minute: int) -> bool:
        if self.begins < self.ends:
            return day in self.days and self.begins <= minute < self.ends
        yesterday = (day - 1) % 7
        return (day in self.days and minute >= self.begins) or (yesterday in self.days and minute < self.ends)


Condition = AttributeCondition | TagCondition | TimeWindow


@dataclass(frozen=True, slots=True)
class Selector:
    """Resources of one kind: all, or those with these ids."""

    type: ResourceType
    ids: frozenset[str] | None = None

    def meets(self, resource: Resource) -> bool:
        """Whether a resource is among them."""
        return resource.type is self.type and (self.ids is None or resource.id in self.ids)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a document; None stands for a key that it does not state.

    Attributes:
        rule_id: Its name in the document.
        effect: What it does.
        actions: As written, keys of `ACTIONS`.
        description: For people; told to those whom the rule denies something.
        resources: What it is about.
        roles: The user holds one of them.
        users: The user is one of them, by id.
        when: Conditions that all hold.
        permissions: What `actions` mean.
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
        meant = frozenset(one for action in self.actions for one in ACTIONS.get(action, ()))
        object.__setattr__(self, "permissions", meant)

    def why_not(self, question: Question) -> str | None:
        """Why the rule does not apply to a question; None when it does."""
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
        if self.effect is Effect.ALLOW and question.action in RESERVED:
            yield f"only a role gives {question.action.value}"
        if self.effect is Effect.ALLOW and question.resource.id is None:
            yield "an allow rule is about named resources, and none is named"
        if self.effect is Effect.DENY and question.action is Permission.POLICY_MANAGE and question.user.is_admin():
            yield "no rule takes policy:manage from the role admin"


@dataclass(frozen=True, slots=True)
class Policy:
    """A tenant's rules; a tenant without a document has `Policy()`, and roles alone decide."""

    rules: tuple[Rule, ...] = ()

    def asks_for_tags(self, action: Permission, kind: ResourceType) -> bool:
        """Whether an answer can depend on the resource's tags, so that they must be known."""
        about = (rule for rule in self.rules if action in rule.permissions)
        meant = (rule for rule in about if rule.resources is None or any(one.type is kind for one in rule.resources))
        return any(isinstance(condition, TagCondition) for rule in meant for condition in rule.when)


class Base(StrEnum):
    """What is so before any rule is asked."""

    HELD = "held"
    MISSING = "missing"
    OTHER_TENANT = "other_tenant"


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """Whether one rule applies and why, for people; an allow rule that applies still loses against a deny rule."""

    rule_id: str
    effect: Effect
    applies: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision, what is so without rules, and every rule in its order; no rule when the tenant decides already."""

    decision: PolicyDecision
    base: Base
    rules: tuple[RuleOutcome, ...] = ()

    @property
    def matched(self) -> tuple[str, ...]:
        """The ids of the rules that apply."""
        return tuple(one.rule_id for one in self.rules if one.applies)


def evaluate(
    policy: Policy,
    user: UserContext,
    action: Permission,
    resource: Resource,
    context: Mapping[str, object],
    now: datetime,
) -> Explained:
    """Decides a question; the order of the steps is this module's first words.

    Args:
        policy: The rules of the user's tenant.
        user: Who asks.
        action: The permission that it takes.
        resource: What it is about.
        context: Facts about the request that the product itself has established, never ones that a caller sends.
        now: The time, with a time zone.

    Returns:
        The decision, what the user's permissions said, and why each rule applied or did not.

    Raises:
        Invalid: `time_without_zone`.
    """
    if now.tzinfo is None:
        raise Invalid("time_without_zone", "A time without its zone cannot be compared with the hours of a rule.")
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
    """Refuses allow rules that give more than their author has, as for custom roles; rules kept as they are may stay.

    Args:
        proposed: What is to be saved.
        current: What holds until then.
        held: The author's permissions.

    Raises:
        Forbidden: `permission_denied`, naming a permission that the author lacks.
    """
    kept = frozenset(current.rules)
    added = [rule for rule in proposed.rules if rule.effect is Effect.ALLOW and rule not in kept]
    for permission in sorted({one for rule in added for one in rule.permissions}, key=lambda one: one.value):
        require(held, permission)
