"""May somebody do something: the tenant's policy, and the tags of what is asked about, put to the rules of `core`."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.access.policies import Explained, Policy, Resource, Rule, TagCondition, evaluate
from taskforce.core.domain.access.policy_documents import parse
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.identity import Permission, PolicyDecision, ResourceType, UserContext

MAX_CASES = 100
UNREADABLE = "policy_unreadable"
"""The code of the error for a stored document that no longer parses."""
_ELSEWHERE = ""
"""No tenant has this id."""


class Policies(Protocol):
    """Where the tenants' policies come from."""

    async def policy(self, tenant_id: str) -> Policy:
        """The policy that holds now; `Policy()` for a tenant that saved none.

        One that cannot be read is an error, never an empty policy: that would lift the tenant's denials.
        """
        ...


class Tags(Protocol):
    """Where the tags of resources come from."""

    async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
        """The tags of one resource; none for one that has no tags or is not there."""
        ...


class PolicyEngine:
    """Evaluates access requests; fulfils `PolicyEngineProtocol`.

    Args:
        policies: Where the tenants' policies come from; asked each time, so it is where they are cached.
        tags: Where tags come from; asked only when a rule of the tenant looks at the tags of this kind of resource.
        clock: What rules with hours go by; a time in the context is a caller's word and is not.
    """

    def __init__(self, policies: Policies, tags: Tags, clock: Clock) -> None:
        self._policies = policies
        self._tags = tags
        self._clock = clock

    async def evaluate(
        self,
        user: UserContext,
        action: Permission,
        resource_type: ResourceType,
        resource_id: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> PolicyDecision:
        """Decides; see `PolicyEngineProtocol.evaluate` and `explain`."""
        return (await self.explain(user, action, resource_type, resource_id, context)).decision

    async def explain(
        self,
        user: UserContext,
        action: Permission,
        resource_type: ResourceType,
        resource_id: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> Explained:
        """Decides, and says what every rule had to do with it.

        Args:
            user: Who asks, with the rights that it has now.
            action: The permission that it takes.
            resource_type: What kind of thing it is about.
            resource_id: Which one; None for all of the kind, or for one that is still to be made.
            context: Facts that the product has established, for `context.*` conditions. `tenant_id`, where it is
                stated, is the tenant of the resource; else it is the user's, unless the id itself names another.

        Returns:
            The decision and how it came about.
        """
        facts = context or {}
        policy = await self._policy(user, action)
        tenant_id = tenant_of(user, resource_type, resource_id, facts)
        tags: Collection[str] = ()
        if resource_id is not None and tenant_id == user.tenant_id and policy.asks_for_tags(action, resource_type):
            tags = await self._tags.tags(tenant_id, resource_type, resource_id)
        resource = Resource(resource_type, resource_id, tenant_id, frozenset(tags))
        return evaluate(policy, user, action, resource, facts, self._clock())

    async def tells_apart(self, user: UserContext, action: Permission) -> bool:
        """Whether an answer can depend on which thing it is about; where not, nobody need find that out.

        Raises:
            Unavailable: As `evaluate`.
        """
        rules = (await self._policy(user, action)).rules
        return any(_names_things(rule) for rule in rules if action in rule.permissions)

    async def _policy(self, user: UserContext, action: Permission) -> Policy:
        try:
            return await self._policies.policy(user.tenant_id)
        except Unavailable as error:
            # No rule could take this right from an administrator or give it to anybody, whatever the document says;
            # and who but they should replace one that cannot be read?
            if error.code == UNREADABLE and action is Permission.POLICY_MANAGE and user.is_admin():
                return Policy()
            raise


def _names_things(rule: Rule) -> bool:
    by_id = any(one.ids is not None for one in rule.resources or ())
    return by_id or any(isinstance(one, TagCondition) for one in rule.when)


def tenant_of(user: UserContext, kind: ResourceType, resource_id: str | None, facts: Mapping[str, object]) -> str:
    """Whose a resource is: the user's tenant's, unless the context or the id names another; one voice is enough."""
    named = [facts["tenant_id"]] if "tenant_id" in facts else []
    if resource_id is not None and kind is ResourceType.TENANT:
        named.append(resource_id)
    if resource_id is not None and kind is ResourceType.SESSION and ":" in resource_id:
        named.append(resource_id.partition(":")[0])
    return user.tenant_id if all(name == user.tenant_id for name in named) else _ELSEWHERE


@dataclass(frozen=True, slots=True)
class Case:
    """A question to try a document with.

    Attributes:
        user: Who would ask.
        action: The permission that it would take.
        resource: What it would be about, with its tags.
        context: Facts about the request.
        at: When, with a time zone; None for now.
    """

    user: UserContext
    action: Permission
    resource: Resource
    context: Mapping[str, object] = field(default_factory=dict, hash=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """A case under the policy that holds, and under the one that is proposed."""

    case: Case
    current: Explained
    proposed: Explained

    @property
    def changes(self) -> bool:
        """Whether saving the document would turn the answer."""
        return self.current.decision.allowed is not self.proposed.decision.allowed


async def dry_run(
    policies: Policies, tenant_id: str, document: object, cases: Sequence[Case], now: datetime
) -> tuple[Compared, ...]:
    """Tries a document that is not saved, and saves nothing.

    Args:
        policies: Where the tenant's current policy comes from.
        tenant_id: Whose document it would be.
        document: The document, as parsed JSON.
        cases: Questions, all of them users' of this tenant.
        now: The time of the cases that state none.

    Returns:
        Each case, in order, with both answers explained.

    Raises:
        Invalid: `policy_invalid`, as `parse`; `policy_cases_invalid` for more than 100 cases, or a foreign user.
    """
    if len(cases) > MAX_CASES or any(case.user.tenant_id != tenant_id for case in cases):
        text = f"A dry run takes up to {MAX_CASES} cases, all of users of the document's tenant."
        raise Invalid("policy_cases_invalid", text)
    # The largest document with the most cases takes most of a second, which is not the event loop's.
    proposed = await asyncio.to_thread(parse, document)
    current = await policies.policy(tenant_id)
    return await asyncio.to_thread(_compared, current, proposed, cases, now)


def _compared(current: Policy, proposed: Policy, cases: Sequence[Case], now: datetime) -> tuple[Compared, ...]:
    return tuple(Compared(case, _answer(current, case, now), _answer(proposed, case, now)) for case in cases)


def _answer(policy: Policy, case: Case, now: datetime) -> Explained:
    return evaluate(policy, case.user, case.action, case.resource, case.context, case.at or now)
