"""Access decisions: the one function that effects, explanations and dry runs call, so that their answers are one.

A decision takes the user's roles, their roles on single resources, the credential and the tenant's policy together:

1. The permissions are those of the credential, with what roles on the resource add (`permissions_on`): a role on a tool
   gives `tool:execute` for that tool, and one on an agent gives it within that agent's runs. To an API key they add
   nothing.
2. The policy decides on each view of the user (`evaluate`); it must allow each of them.
3. A credential with fewer rights than its user has no permission by an allow rule; it must hold the permission itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from taskforce.core.domain.access.policies import Base, Explained, Policy, Resource, evaluate
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.identity.resource_roles import ResourceGrant, permissions_in_runs, permissions_on
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, PolicyDecision, Role, UserContext


@dataclass(frozen=True, slots=True)
class Subject:
    """A user with a credential, as an access decision sees them.

    Attributes:
        views: The user with the attributes of the newest token and, where others are presented, with these; the
            permissions are those of the credential, and the same in each view.
        grants: Roles on single resources.
        known_roles: The roles that exist in the tenant, by id.
        is_bound: Whether the credential may have fewer rights than its user.
    """

    views: tuple[UserContext, ...]
    grants: tuple[ResourceGrant, ...] = ()
    known_roles: Mapping[str, Role] = field(default_factory=lambda: SYSTEM_ROLES, hash=False)
    is_bound: bool = False

    @property
    def user(self) -> UserContext:
        """Returns the user with the attributes of the newest token."""
        return self.views[0]

    def permissions_on(self, resource: Resource, now: datetime) -> frozenset[Permission]:
        """Returns the permissions on a resource at a time, before the policy is asked."""
        held = frozenset(self.user.permissions)
        if resource.tenant_id != self.user.tenant_id:
            return held
        return permissions_on(
            resource.type,
            resource.id,
            held,
            self.grants,
            now=now,
            known_roles=self.known_roles,
            agent_id=resource.agent_id,
        )

    def permissions_in_runs(self, agent_id: str, now: datetime) -> frozenset[Permission]:
        """Returns the permissions that a run of an agent may use, with those on its tools, before the policy."""
        held = frozenset(self.user.permissions)
        return held | permissions_in_runs(agent_id, self.grants, now=now, known_roles=self.known_roles)


def subject_of(
    principal: Principal, grants: Iterable[ResourceGrant] = (), known_roles: Mapping[str, Role] = SYSTEM_ROLES
) -> Subject:
    """Returns the subject of a principal's access decisions.

    The policy sees all roles of the user, so that a deny rule for a role also meets a key or token that leaves it out.
    Where the presented token claims other attributes than the newest one, it sees both: neither does an older token
    bring back what the identity provider has taken away since, nor does a token act by what another claims.

    Args:
        principal: The user, with the permissions of the credential.
        grants: Their roles on single resources; an API key's user has none, and temporary ones do not count for a
            principal of lasting rights.
        known_roles: The roles that exist in the tenant, by id.
    """
    user, other = principal.user, principal.other_attributes
    recorded = UserContext(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=principal.user_roles,
        permissions=principal.permissions,
        attributes=user.attributes,
    )
    views = (recorded,) if other is None else (recorded, replace(recorded, attributes=other))
    counted = (one for one in grants if not principal.is_cut and not (principal.lasting and one.expires_at))
    return Subject(views, tuple(counted), known_roles, is_bound=principal.is_cut or principal.is_narrowed)


def decide(
    policy: Policy,
    subject: Subject,
    action: Permission,
    resource: Resource,
    *,
    context: Mapping[str, object],
    now: datetime,
) -> Explained:
    """Decides an access request, in the order of this module's docstring.

    Args:
        policy: The rules of the user's tenant.
        subject: Whoever asks.
        action: The required permission.
        resource: The resource.
        context: Facts about the request that the product has established; those of a run are added for its tools.
        now: The time, with a time zone.

    Returns:
        The decision with its explanation: the first denial among the views, else the first view's.

    Raises:
        Invalid: `time_without_zone`.
    """
    held = subject.permissions_on(resource, now)
    facts = {**context, **_run_facts(resource)}
    views = subject.views if held == subject.user.permissions else [_with(view, held) for view in subject.views]
    answer = strictest(evaluate(policy, view, action, resource, context=facts, now=now) for view in views)
    if subject.is_bound and action not in held:
        missing = PolicyDecision(False, f"role permission {action.value} is missing")
        return Explained(missing, Base.MISSING, answer.rules)
    return answer


def strictest(answers: Iterable[Explained]) -> Explained:
    """Returns the first denial among decisions, else the first decision."""
    first, *others = answers
    return next((one for one in (first, *others) if not one.decision.allowed), first)


def _with(view: UserContext, held: frozenset[Permission]) -> UserContext:
    return replace(view, permissions=held)


def _run_facts(resource: Resource) -> Mapping[str, object]:
    return {} if resource.agent_id is None else {"channel": "run", "agent_id": resource.agent_id}
