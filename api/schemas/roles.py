"""Roles in requests and responses."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, JsonValue

from api.schemas.request_body import RequestBody
from taskforce.core.domain.identity.roles import MAX_DESCRIPTION, MAX_NAME
from taskforce.core.interfaces.identity import Role

MAX_METADATA = 10_000

RoleKind = Literal["system", "profile", "own"]


def _small(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    # Bounded, because a role is read with every request of each of its holders.
    if len(json.dumps(metadata)) > MAX_METADATA:
        raise ValueError(f"metadata has at most {MAX_METADATA} characters as JSON")
    return metadata


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]
PermissionNames = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_small)]


class RoleIn(RequestBody):
    """A new role.

    Attributes:
        name: A name for people; the id is derived from it: `Data Analyst` has the id `custom:data_analyst`.
        description: A description for people.
        permissions: Its permissions, for example `agent:read`; its author must hold each of them.
        metadata: Data that the product stores and does not interpret.
    """

    name: Name
    description: Description = ""
    permissions: PermissionNames = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)


class RoleChangeIn(RequestBody):
    """Changes of a role; what is left out stays as it is, and the role's id never changes.

    Attributes:
        name: A name for people.
        description: A description for people.
        permissions: All its permissions from now on; the caller must hold those that are added.
        metadata: Replaces the stored data.
    """

    name: Name | None = None
    description: Description | None = None
    permissions: PermissionNames | None = None
    metadata: Metadata | None = None


class RoleOut(BaseModel):
    """A role.

    Attributes:
        role_id: The id by which users hold it.
        kind: Who defines it: the system (five roles), the deployment's profile, or the tenant; only the last can be
            changed here.
    """

    role_id: str
    kind: RoleKind
    name: str
    description: str
    permissions: list[str]
    metadata: Mapping[str, object]


def role_out(role: Role) -> RoleOut:
    """Renders a role."""
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
