"""Who the caller is, as it travels over HTTP."""

from collections.abc import Sequence

from pydantic import BaseModel

from api.schemas.users import GrantOut


class MeOut(BaseModel):
    """The caller, with the roles and the rights that count now."""

    user_id: str
    tenant_id: str
    username: str
    email: str | None
    roles: list[str]
    permissions: list[str]


class MyGrantOut(GrantOut):
    """A role that the caller holds on one resource.

    Attributes:
        permissions: What it allows there.
    """

    permissions: list[str]


class MyPermissionsOut(BaseModel):
    """What the caller may do now.

    Attributes:
        roles: The roles that count; of an API key those that its user holds too.
        permissions: What they allow, everywhere in the tenant.
        features: What the tenant has.
        grants: Roles on single resources; an API key has none.
    """

    roles: list[str]
    permissions: list[str]
    features: list[str]
    grants: Sequence[MyGrantOut]
