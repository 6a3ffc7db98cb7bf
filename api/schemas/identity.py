"""Who the caller is, as it travels over HTTP."""

from pydantic import BaseModel


class MeOut(BaseModel):
    """The caller, with the roles and the rights that count now."""

    user_id: str
    tenant_id: str
    username: str
    email: str | None
    roles: list[str]
    permissions: list[str]
