"""Roles on single resources: what they give there, and within the runs of an agent."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.domain.ids import is_id
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, ResourceType, Role

DeploymentNames = Callable[[ResourceType], Collection[str]]
"""Returns the ids of a kind that the deployment names and all its tenants share: agents of profiles, and tools."""

IN_RUNS = frozenset({Permission.TOOL_EXECUTE})
"""What a role on an agent gives beyond the agent itself: within the agent's runs, on the tools of the agent."""


def no_names(resource_type: ResourceType) -> Collection[str]:
    """Names nothing, of any kind."""
    del resource_type
    return ()


def is_shared(resource_type: ResourceType, resource_id: str) -> bool:
    """Tells whether only the deployment could name a resource: a tool, or an agent that has no id of the catalog."""
    return resource_type is ResourceType.TOOL or (resource_type is ResourceType.AGENT and not is_id(resource_id))


@dataclass(frozen=True, slots=True)
class ResourceGrant:
    """A role that a user holds on one resource only.

    Attributes:
        user_id: The user who holds it.
        role_id: The role.
        resource_type: The kind of resource.
        resource_id: Id of the resource.
        expires_at: End, UTC, excluded; None for none.
    """

    user_id: str
    role_id: str
    resource_type: ResourceType
    resource_id: str
    expires_at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Tells whether the grant is in force at a time."""
        return self.expires_at is None or now < self.expires_at


def permissions_on(
    resource_type: ResourceType,
    resource_id: str | None,
    user_permissions: Collection[Permission],
    grants: Iterable[ResourceGrant],
    *,
    now: datetime,
    known_roles: Mapping[str, Role] = SYSTEM_ROLES,
    agent_id: str | None = None,
) -> frozenset[Permission]:
    """Returns a user's permissions on one resource.

    Of a role that is granted on a resource, only the permissions of that kind of resource count, and for an agent those
    that its runs need: an operator of one agent may execute that agent (`agent:*`) and, within its runs, its tools
    (`tool:execute`), and gains no right to sessions or tools in general.

    Args:
        resource_type: The kind of the resource.
        resource_id: Id of the resource; None for all of the kind, on which only a role on the agent counts.
        user_permissions: The user's permissions on all resources; pass none, and no grants, for a deactivated user.
        grants: Grants of this one user, on any resources; expired ones give nothing.
        now: The time, UTC.
        known_roles: The roles that exist in the tenant.
        agent_id: Of a tool, the agent in whose run it is called; None outside of runs.

    Raises:
        Invalid: `grants_mixed`, when the grants belong to several users: one would get the rights of another.
    """
    in_force = _in_force(grants, now)
    here = _given(in_force, resource_type, resource_id, known_roles)
    found = frozenset(user_permissions) | {one for one in here if one.resource_type is resource_type}
    if resource_type is not ResourceType.TOOL or agent_id is None:
        return found
    return found | (_given(in_force, ResourceType.AGENT, agent_id, known_roles) & IN_RUNS)


def permissions_in_runs(
    agent_id: str, grants: Iterable[ResourceGrant], *, now: datetime, known_roles: Mapping[str, Role] = SYSTEM_ROLES
) -> frozenset[Permission]:
    """Returns what roles on an agent, or on any single tool, give the agent's runs."""
    in_force = _in_force(grants, now)
    tools = {one.resource_id for one in in_force if one.resource_type is ResourceType.TOOL}
    given = (_given(in_force, ResourceType.TOOL, tool, known_roles) for tool in tools)
    return _given(in_force, ResourceType.AGENT, agent_id, known_roles).union(*given) & IN_RUNS


def _in_force(grants: Iterable[ResourceGrant], now: datetime) -> Sequence[ResourceGrant]:
    given = tuple(grants)
    if len({grant.user_id for grant in given}) > 1:
        raise Invalid("grants_mixed", "Rights on a resource are computed for one user at a time.")
    return [one for one in given if one.holds(now)]


def _given(
    grants: Iterable[ResourceGrant],
    resource_type: ResourceType,
    resource_id: str | None,
    known_roles: Mapping[str, Role],
) -> frozenset[Permission]:
    meant = (resource_type, resource_id)
    return permissions_of((one.role_id for one in grants if (one.resource_type, one.resource_id) == meant), known_roles)


def allowed_by(grant: ResourceGrant, known_roles: Mapping[str, Role], now: datetime) -> frozenset[Permission]:
    """Returns the permissions of one grant on its resource at a time, with those that it gives the runs of an agent."""
    here = permissions_on(grant.resource_type, grant.resource_id, (), [grant], now=now, known_roles=known_roles)
    if grant.resource_type is not ResourceType.AGENT:
        return here
    return here | permissions_in_runs(grant.resource_id, [grant], now=now, known_roles=known_roles)
