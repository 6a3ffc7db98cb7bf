"""Value types of identity and access: tenants, users, roles, permissions and policy decisions.

The twenty permissions and the five system roles are those of the guide (3.3 and Appendix A), and no more.
"""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import is_addressable

_TENANT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def checked_tenant_id(value: object) -> str:
    """Requires a tenant id that is safe in keys, workflow ids and session ids, and returns it.

    Args:
        value: The value as sent.

    Returns:
        The same value.

    Raises:
        Invalid: `tenant_id_invalid`, when it is not a string of 1 to 64 letters, digits, dots, underscores and hyphens.
    """
    if isinstance(value, str) and _TENANT_ID.fullmatch(value):
        return value
    raise Invalid(
        "tenant_id_invalid", "A tenant id is 1 to 64 letters, digits, dots, underscores or hyphens (ASCII only)."
    )


def named_tenant_id(value: object) -> str:
    """Requires a tenant id, as `checked_tenant_id`, that can be named in a path; for ids that are new here.

    Raises:
        Invalid: `tenant_id_invalid`.
    """
    known = checked_tenant_id(value)
    if is_addressable(known):
        return known
    raise Invalid("tenant_id_invalid", "A tenant id is not `.` or `..`, which no path can name.")


class Permission(Enum):
    """A permission of a role, `<resource>:<action>`."""

    AGENT_CREATE = "agent:create"
    AGENT_READ = "agent:read"
    AGENT_UPDATE = "agent:update"
    AGENT_DELETE = "agent:delete"
    AGENT_EXECUTE = "agent:execute"

    SESSION_CREATE = "session:create"
    SESSION_READ = "session:read"
    SESSION_DELETE = "session:delete"

    TOOL_EXECUTE = "tool:execute"
    TOOL_READ = "tool:read"

    MEMORY_READ = "memory:read"
    MEMORY_WRITE = "memory:write"
    MEMORY_DELETE = "memory:delete"

    TENANT_MANAGE = "tenant:manage"
    USER_MANAGE = "user:manage"
    ROLE_MANAGE = "role:manage"
    POLICY_MANAGE = "policy:manage"
    AUDIT_READ = "audit:read"

    SYSTEM_CONFIG = "system:config"
    SYSTEM_METRICS = "system:metrics"

    @property
    def resource_type(self) -> "ResourceType":
        """Returns the kind of resource that the permission is about."""
        return ResourceType(self.value.partition(":")[0])


class ResourceType(Enum):
    """The kind of resource of a permission: the part of its value before the colon."""

    AGENT = "agent"
    SESSION = "session"
    TOOL = "tool"
    MEMORY = "memory"
    TENANT = "tenant"
    USER = "user"
    ROLE = "role"
    POLICY = "policy"
    AUDIT = "audit"
    SYSTEM = "system"


def _names(values: Iterable[str]) -> frozenset[str]:
    """Freezes role names; a bare string is refused because it would become a set of its letters."""
    if not isinstance(values, str):
        names = frozenset(values)
        if all(isinstance(name, str) for name in names):
            return names
    raise Invalid("roles_invalid", "Roles are a set of names.")


def _permissions(values: Iterable[Permission]) -> frozenset[Permission]:
    held = frozenset(values)
    if not all(isinstance(permission, Permission) for permission in held):
        raise Invalid("permissions_invalid", "Permissions are a set of Permission members.")
    return held


@dataclass(frozen=True)
class TenantContext:
    """An organisation, whose data is isolated from all others'.

    Attributes:
        tenant_id: 1 to 64 characters of `A-Za-z0-9._-`.
        name: Display name.
        settings: Limits and feature switches that the product enforces, for example `max_agents`.
        metadata: Stored as sent, never read.

    Raises:
        Invalid: `tenant_id_invalid`.
    """

    tenant_id: str
    name: str = ""
    settings: Mapping[str, object] = field(default_factory=dict, hash=False)
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        checked_tenant_id(self.tenant_id)
        object.__setattr__(self, "settings", dict(self.settings))
        object.__setattr__(self, "metadata", dict(self.metadata))


@dataclass(frozen=True)
class UserContext:
    """A person or service account with its rights at one moment.

    Attributes:
        user_id: Opaque and stable; a token's `sub`.
        tenant_id: The only tenant that it acts in.
        username: Display name.
        email: E-mail address; None when not known.
        roles: Ids of its roles; any iterable is accepted, a frozenset is stored.
        permissions: Its permissions; not derived from `roles` here, see `taskforce.core.domain.identity.users`.
        attributes: Further facts for policies, for example `department`.

    Raises:
        Invalid: `tenant_id_invalid`, `roles_invalid` or `permissions_invalid`.
    """

    user_id: str
    tenant_id: str
    username: str = ""
    email: str | None = None
    roles: AbstractSet[str] = frozenset()
    permissions: AbstractSet[Permission] = frozenset()
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        checked_tenant_id(self.tenant_id)
        object.__setattr__(self, "roles", _names(self.roles))
        object.__setattr__(self, "permissions", _permissions(self.permissions))
        object.__setattr__(self, "attributes", dict(self.attributes))

    def has_permission(self, permission: Permission) -> bool:
        """Tells whether a permission is held; no role, not even admin, implies one that is not listed."""
        return permission in self.permissions

    def is_admin(self) -> bool:
        """Tells whether the user holds the role `admin` of its tenant."""
        return "admin" in self.roles


@dataclass(frozen=True)
class Identity:
    """The claims of a verified credential about its bearer; rights are decided elsewhere.

    Attributes:
        user_id: Opaque and stable within the tenant.
        tenant_id: The tenant of the credential.
        username: Display name; the user id where no name is known.
        email: E-mail address; None when not known.
        roles: Claimed role ids.
        issuer: The issuer of the credential.
        issued_at: Time of issue, UTC.
        expires_at: Time of expiry, UTC, excluded.
        attributes: Further claims.

    Raises:
        Invalid: `tenant_id_invalid` or `roles_invalid`.
    """

    user_id: str
    tenant_id: str
    username: str
    email: str | None
    roles: frozenset[str]
    issuer: str
    issued_at: datetime
    expires_at: datetime
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        checked_tenant_id(self.tenant_id)
        object.__setattr__(self, "roles", _names(self.roles))


@dataclass(frozen=True)
class Role:
    """A named set of permissions.

    Attributes:
        role_id: The id that users hold: `admin`, or `custom:data_analyst`.
        name: Display name.
        description: Display text.
        permissions: Its permissions; any iterable is accepted, a frozenset is stored.
        tenant_id: The tenant that it belongs to; None for a role of the system or a profile.
        is_system_role: Whether it is one of the five system roles, which cannot be changed.
        metadata: Stored as sent, never read.

    Raises:
        Invalid: `tenant_id_invalid` or `permissions_invalid`.
    """

    role_id: str
    name: str
    description: str = ""
    permissions: AbstractSet[Permission] = frozenset()
    tenant_id: str | None = None
    is_system_role: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.tenant_id is not None:
            checked_tenant_id(self.tenant_id)
        object.__setattr__(self, "permissions", _permissions(self.permissions))
        object.__setattr__(self, "metadata", dict(self.metadata))


def _system_role(role_id: str, name: str, description: str, permissions: Iterable[Permission]) -> tuple[str, Role]:
    return role_id, Role(role_id, name, description, frozenset(permissions), is_system_role=True)


_VIEWED = frozenset({Permission.AGENT_READ, Permission.SESSION_READ, Permission.TOOL_READ})

SYSTEM_ROLES: Mapping[str, Role] = MappingProxyType(
    dict(
        (
            _system_role("admin", "Admin", "Full tenant administration", Permission),
            _system_role(
                "agent_designer",
                "Agent Designer",
                "Create and manage agents",
                _VIEWED | {Permission.AGENT_CREATE, Permission.AGENT_UPDATE, Permission.AGENT_DELETE},
            ),
            _system_role(
                "operator",
                "Operator",
                "Execute agents and manage sessions",
                _VIEWED
                | {
                    Permission.AGENT_EXECUTE,
                    Permission.SESSION_CREATE,
                    Permission.SESSION_DELETE,
                    Permission.TOOL_EXECUTE,
                    Permission.MEMORY_READ,
                    Permission.MEMORY_WRITE,
                },
            ),
            _system_role(
                "auditor",
                "Auditor",
                "Compliance and audit access",
                _VIEWED | {Permission.MEMORY_READ, Permission.AUDIT_READ},
            ),
            _system_role("viewer", "Viewer", "Basic read-only access", _VIEWED),
        )
    )
)


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """The decision of a policy engine on one access request.

    Attributes:
        allowed: Whether the action is allowed.
        reason: The reason, for logs and for the user.
    """

    allowed: bool
    reason: str = ""


class PolicyEngineProtocol(Protocol):
    """The protocol of a policy engine."""

    async def evaluate(
        self,
        user: UserContext,
        action: Permission,
        resource_type: ResourceType,
        resource_id: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> PolicyDecision:
        """Decides whether a user may perform an action on a resource.

        Args:
            user: The user.
            action: The permission that the action requires.
            resource_type: The kind of resource.
            resource_id: Id of the resource; None for all of the kind.
            context: Further facts about the request.

        Returns:
            The decision with its reason; a denial is a decision, not an error.
        """
        ...
