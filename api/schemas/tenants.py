"""Tenants as they travel over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Document = dict[str, JsonValue]


class TenantChangeIn(BaseModel):
    """What shall be different; what is left out stays as it is.

    Attributes:
        name: For people.
        settings: All of the tenant's settings: `max_agents`, `max_concurrent_sessions`, `features`,
            `data_retention_days`, `requests_per_minute` and `ip_allow_list`; one that is left out is no limit.
        metadata: Facts that the product keeps and does not read.
        active: Switches the tenant on or off; off, nobody of it gets in and its runs do nothing more.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name | None = None
    settings: Document | None = None
    metadata: Document | None = None
    active: bool | None = None


class TenantIn(TenantChangeIn):
    """A new tenant."""

    tenant_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class TenantOut(BaseModel):
    """An organisation whose data stands apart."""

    tenant_id: str
    name: str
    status: TenantStatus
    settings: Mapping[str, object]
    metadata: Mapping[str, object]
    created_at: datetime
    updated_at: datetime


def tenant_out(tenant: Tenant) -> TenantOut:
    """The tenant as it is sent."""
    return TenantOut.model_construct(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        status=tenant.status,
        settings=tenant.settings.as_json(),
        metadata=tenant.metadata,
        created_at=tenant.created_at,
        updated_at=tenant.updated_at,
    )
