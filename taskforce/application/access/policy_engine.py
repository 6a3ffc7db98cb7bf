"""Policy engine: evaluates the tenant's policy with the resource's tags, by the rules of `core`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from taskforce.application.tenant_threads import in_thread
from taskforce.core.domain.access.decisions import Subject, decide
from taskforce.core.domain.access.policies import Explained, Policy, Resource, Rule, TagCondition
from taskforce.core.domain.access.policy_documents import UNREADABLE, parse
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.identity import Permission, PolicyDecision, ResourceType, UserContext

MAX_CASES = 100
_ELSEWHERE = ""
"""The tenant id of resources that belong to another tenant than the user's; no tenant has this id."""


class Policies(Protocol):
    """The source of the tenants' policies."""

    async def policy(self, tenant_id: str) -> Policy:
        """Returns the policy in force; `Policy()` for a tenant that saved none.

        A document that cannot be read is an error, never an empty policy: that would lift the tenant's deny rules.
        """
        ...


class Tags(Protocol):
    """The source of the tags of resources."""

    async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
        """Returns the tags of a resource; empty where it has none or does not exist."""
        ...


class PolicyEngine:
    """Evaluates access requests; fulfils `PolicyEngineProtocol`.

    Args:
        policies: The source of policies; called for each request, so it does the caching.
        tags: The source of tags; called only where a rule of the tenant has a tag condition for the resource type.
        clock: The time, UTC, for rules with hours; a time in the context is the caller's claim and is not used.
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
        """Evaluates an access request; see `PolicyEngineProtocol.evaluate` and `explain`."""
        return (await self.explain(user, action, resource_type, resource_id, context)).decision

    async def explain(
        self,
        user: UserContext,
        action: Permission,
        resource_type: ResourceType,
        resource_id: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> Explained:
        """Evaluates an access request, and explains the part of each rule in the decision.

        Args:
            user: The caller, with current rights.
            action: The required permission.
            resource_type: The type of the resource.
            resource_id: The resource; None for all of the type, or for one that is still to be created.
            context: Facts that the product has established, for `context.*` conditions. `tenant_id`, where given, is
                the tenant of the resource; else it is the user's, unless the id itself names another.

        Returns:
            The decision and its explanation.

        Raises:
            Unavailable: As `Policies.policy`.
        """
        facts = context or {}
        resource = Resource(resource_type, resource_id, tenant_of(user, resource_type, resource_id, facts))
        return await self.decide(Subject((user,)), action, resource, facts)

    async def decide(
        self, subject: Subject, action: Permission, resource: Resource, facts: Mapping[str, object] | None = None
    ) -> Explained:
        """Decides an access request by the policy in force, with the tags that the resource has.

        Args:
            subject: Whoever asks, with current rights.
            action: The required permission.
            resource: The resource; its tags are looked up where a rule asks for them.
            facts: Facts that the product has established, for `context.*` conditions.

        Returns:
            The decision and its explanation; see `taskforce.core.domain.access.decisions.decide`.

        Raises:
            Unavailable: As `Policies.policy`.
        """
        policy = await self._policy(subject.user, action)
        tagged = await self._tagged(policy, subject.user, action, resource)
        return decide(policy, subject, action, tagged, context=facts or {}, now=self._clock())

    async def tells_apart(self, user: UserContext, action: Permission) -> bool:
        """Tells whether a decision can depend on the resource; if not, callers need not look the resource up.

        Raises:
            Unavailable: As `evaluate`.
        """
        rules = (await self._policy(user, action)).rules
        return any(_names_resources(rule) for rule in rules if action in rule.permissions)

    async def attributes_read(self, tenant_id: str) -> frozenset[str]:
        """Returns the names of users' attributes that a tenant's policy reads.

        Raises:
            Unavailable: As `Policies.policy`.
        """
        return (await self._policies.policy(tenant_id)).attributes

    async def _tagged(self, policy: Policy, user: UserContext, action: Permission, resource: Resource) -> Resource:
        own = resource.tenant_id == user.tenant_id
        if resource.id is None or not own or not policy.asks_for_tags(action, resource.type):
            return resource
        return replace(resource, tags=frozenset(await self._tags.tags(user.tenant_id, resource.type, resource.id)))

    async def _policy(self, user: UserContext, action: Permission) -> Policy:
        try:
            return await self._policies.policy(user.tenant_id)
        except Unavailable as error:
            # Rules can neither withdraw this permission from an administrator nor give it to others, and an unreadable
            # document could not be replaced without it.
            if error.code == UNREADABLE and action is Permission.POLICY_MANAGE and user.is_admin():
                return Policy()
            raise


def _names_resources(rule: Rule) -> bool:
    by_id = any(one.ids is not None for one in rule.resources or ())
    return by_id or any(isinstance(one, TagCondition) for one in rule.when)


def tenant_of(
    user: UserContext, resource_type: ResourceType, resource_id: str | None, facts: Mapping[str, object]
) -> str:
    """Returns the tenant of a resource: the user's, unless the context or the resource's id names another."""
    named = [facts["tenant_id"]] if "tenant_id" in facts else []
    if resource_id is not None and resource_type is ResourceType.TENANT:
        named.append(resource_id)
    if resource_id is not None and resource_type is ResourceType.SESSION and ":" in resource_id:
        named.append(resource_id.partition(":")[0])
    return user.tenant_id if all(name == user.tenant_id for name in named) else _ELSEWHERE


@dataclass(frozen=True, slots=True)
class Case:
    """An access request of a dry run.

    Attributes:
        subject: The caller.
        action: The required permission.
        resource: The resource, with its tags.
        context: Facts about the request.
        at: The time of the request, with a time zone; None for now.
    """

    subject: Subject
    action: Permission
    resource: Resource
    context: Mapping[str, object] = field(default_factory=dict, hash=False)
    at: datetime | None = None

    def decided(self, policy: Policy, now: datetime) -> Explained:
        """Returns the decision of a policy; at `now` where the case states no time."""
        return decide(policy, self.subject, self.action, self.resource, context=self.context, now=self.at or now)


@dataclass(frozen=True, slots=True)
class Compared:
    """A case with the decisions of the policy in force and of the proposed one."""

    case: Case
    current: Explained
    proposed: Explained

    @property
    def changes(self) -> bool:
        """Returns whether the proposed document changes the decision."""
        return self.current.decision.allowed is not self.proposed.decision.allowed


async def dry_run(
    policies: Policies, tenant_id: str, document: object, cases: Sequence[Case], now: datetime
) -> tuple[Compared, ...]:
    """Evaluates cases by the policy in force and by a proposed document; saves nothing.

    Args:
        policies: The source of the policy in force.
        tenant_id: The tenant of the document.
        document: The document, as parsed JSON.
        cases: The cases, all of users of this tenant.
        now: The time of the cases that state none, UTC.

    Returns:
        Each case, in order, with both decisions explained.

    Raises:
        Invalid: `policy_invalid`, as `parse`; `policy_cases_invalid`: more than 100 cases, or users of other tenants.
    """
    if len(cases) > MAX_CASES or any(case.subject.user.tenant_id != tenant_id for case in cases):
        text = f"A dry run takes up to {MAX_CASES} cases, all of users of the document's tenant."
        raise Invalid("policy_cases_invalid", text)
    # In a thread: the largest document with the most cases takes most of a second, which would block the event loop.
    proposed = await in_thread(tenant_id, parse, document)
    current = await policies.policy(tenant_id)
    return await in_thread(tenant_id, _compared, current, proposed, cases, now)


def _compared(current: Policy, proposed: Policy, cases: Sequence[Case], now: datetime) -> tuple[Compared, ...]:
    return tuple(Compared(case, case.decided(current, now), case.decided(proposed, now)) for case in cases)
