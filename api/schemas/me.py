"""The caller's identity and permissions in responses."""

from collections.abc import Sequence

from pydantic import BaseModel

from api.schemas.users import GrantOut
from taskforce.core.domain.access.policies import Base


class MeOut(BaseModel):
    """The caller, with the roles and permissions in force now."""

    user_id: str
    tenant_id: str
    username: str
    email: str | None
    roles: list[str]
    permissions: list[str]


class MyGrantOut(GrantOut):
    """A role that the caller holds on one resource.

    Attributes:
        permissions: The permissions that it gives there; `tool:execute` of an agent is about its tools, in its runs.
    """

    permissions: list[str]


class MyPermissionsOut(BaseModel):
    """The caller's permissions in force now.

    Attributes:
        roles: The roles in force; for an API key, those of its roles that its user holds too.
        permissions: The permissions that they give everywhere in the tenant, and that its policy does not deny there.
        features: The features that are enabled for the tenant.
        grants: Roles on single resources; an API key has none.
    """

    roles: list[str]
    permissions: list[str]
    features: list[str]
    grants: Sequence[MyGrantOut]


class MyAccessOut(BaseModel):
    """A decision on the caller's access, with its explanation.

    Attributes:
        allowed: Whether the action is allowed.
        reason: The reason of the decision.
        base: The decision before any rule: the permission is held or missing, or the resource is another tenant's.
        rules: The ids of the rules of the tenant's policy that apply.
    """

    allowed: bool
    reason: str
    base: Base
    rules: list[str]
