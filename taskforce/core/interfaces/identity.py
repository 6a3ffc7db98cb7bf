"""Who is asking, for which tenant, and with which rights: value types that callers and adapters share.

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

_TENANT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def checked_tenant_id(value: object) -> str:
    """Returns a tenant id that is safe in keys, workflow ids and session ids.

    Args:
        value: What claims to be a tenant id.

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


class Permission(Enum):
    """What a role can allow."""

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


class ResourceType(Enum):
    """What a permission is about; the part of its value before the colon."""

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
    """An organisation whose data stands apart from everybody else's.

    Attributes:
        tenant_id: 1 to 64 of `A-Za-z0-9._-`.
        name: For people.
        settings: Limits and switches that the product enforces, for example `max_agents`.
        metadata: Facts that the product keeps and does not read.

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
    """A person or service account together with the rights that it has now.

    Attributes:
        user_id: Opaque and stable; a token's `sub`.
        tenant_id: The only tenant that it acts in.
        username: For people.
        email: Where known.
        roles: Names of its roles; any iterable is accepted, a frozenset is kept.
        permissions: What it may do; not derived from `roles` here, see `taskforce.core.domain.identity.users`.
        attributes: Further plain facts, for example `department`.

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
        """Says whether this permission is held; no role, not even admin, implies one that is not listed."""
        return permission in self.permissions

    def is_admin(self) -> bool:
        """Says whether the user holds the role `admin` of its tenant."""
        return "admin" in self.roles


@dataclass(frozen=True)
class Identity:
    """What a credential that we believe says about its bearer; rights are decided elsewhere.

    Attributes:
        user_id: Opaque and stable within the tenant.
        tenant_id: The tenant that the credential is for.
        username: For people; the user id where nothing better is known.
        email: Where known.
        roles: Role names as claimed.
        issuer: Who vouches for it.
        issued_at: When it was issued, UTC.
        expires_at: From when it is no longer believed, UTC.
        attributes: Further plain claims.

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
        role_id: The name that users' role sets hold: `admin`, or `custom:data_analyst`.
        name: For people.
        description: For people.
        permissions: What it allows; any iterable is accepted, a frozenset is kept.
        tenant_id: The tenant that it belongs to; None for a system role.
        is_system_role: Whether it is one of the five that cannot be changed.
        metadata: Facts that the product keeps and does not read.

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
    """The answer to one access request.

    Attributes:
        allowed: Whether it may happen.
        reason: Why, for logs and for the person who asks.
    """

    allowed: bool
    reason: str = ""


class PolicyEngineProtocol(Protocol):
    """Evaluates access requests."""

    async def evaluate(
        self,
        user: UserContext,
        action: Permission,
        resource_type: ResourceType,
        resource_id: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> PolicyDecision:
        """Decides whether a user may do something to a resource.

        Args:
            user: Who asks.
            action: The permission that it takes.
            resource_type: What kind of thing it is about.
            resource_id: Which one; None for all of the kind.
            context: Further facts about the request.

        Returns:
            A decision with its reason; a denial is a decision, not an error.
        """
        ...
