"""Roles as they travel over HTTP."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from taskforce.core.domain.identity.roles import MAX_DESCRIPTION, MAX_NAME
from taskforce.core.interfaces.identity import Role

MAX_METADATA = 10_000

RoleKind = Literal["system", "profile", "own"]


def _small(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    # Roles are read with every request of whoever holds one.
    if len(json.dumps(metadata)) > MAX_METADATA:
        raise ValueError(f"metadata has at most {MAX_METADATA} characters as JSON")
    return metadata


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]
PermissionNames = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_small)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RoleIn(_Asked):
    """A new role.

    Attributes:
        name: For people; the role's id follows from it: `Data Analyst` is held as `custom:data_analyst`.
        description: For people.
        permissions: What it allows, for example `agent:read`; each of them its maker's own.
        metadata: Facts that the product keeps and does not read.
    """

    name: Name
    description: Description = ""
    permissions: PermissionNames = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)


class RoleChangeIn(_Asked):
    """What shall be different; what is left out stays as it is, and the role's id always does.

    Attributes:
        name: For people.
        description: For people.
        permissions: All that it allows from now on; only what comes in must be the caller's own.
        metadata: Replaces the facts that are kept.
    """

    name: Name | None = None
    description: Description | None = None
    permissions: PermissionNames | None = None
    metadata: Metadata | None = None


class RoleOut(BaseModel):
    """A role.

    Attributes:
        role_id: What users hold.
        kind: Whose it is: one of the five of the system, one of the deployment's profile, or the tenant's own; only
            the last can be changed here.
    """

    role_id: str
    kind: RoleKind
    name: str
    description: str
    permissions: list[str]
    metadata: Mapping[str, object]


def role_out(role: Role) -> RoleOut:
    """The role as it is sent."""
    return RoleOut.model_construct(
        role_id=role.role_id,
        kind=_kind(role),
        name=role.name,
        description=role.description,
        permissions=sorted(permission.value for permission in role.permissions),
        metadata=role.metadata,
    )


def _kind(role: Role) -> RoleKind:
    if role.is_system_role:
        return "system"
    return "profile" if role.tenant_id is None else "own"
