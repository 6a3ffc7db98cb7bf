"""Tenants in requests and responses."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.fields import Document
from api.schemas.request_body import RequestBody
from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class TenantFieldsIn(RequestBody):
    """The fields of a tenant; what is left out stays as it is.

    Attributes:
        name: A name for people.
        settings: All of the tenant's settings: `max_agents`, `max_concurrent_sessions`, `features`,
            `data_retention_days`, `answer_retention_days`, `delivery_retention_days`, `request_retention_days`,
            `usage_retention_days`, `requests_per_minute` and `ip_allow_list`; one that is left out is no limit.
        metadata: Data that the product stores and does not interpret.
        active: Whether the tenant is enabled; if not, its users are refused and its runs do nothing more.
    """

    name: Name | None = None
    settings: Document | None = None
    metadata: Document | None = None
    active: bool | None = None


class TenantChangeIn(TenantFieldsIn):
    """Changes of a tenant; what is left out stays as it is.

    Attributes:
        force: Whether an `ip_allow_list` of the own tenant may lack the caller's address, who is then shut out.
    """

    force: bool = False


class TenantIn(TenantFieldsIn):
    """A new tenant."""

    tenant_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class TenantOut(BaseModel):
    """A tenant: an organisation whose data is isolated from others'."""

    tenant_id: str
    name: str
    status: TenantStatus
    settings: Mapping[str, object]
    metadata: Mapping[str, object]
    created_at: datetime
    updated_at: datetime


def tenant_out(tenant: Tenant) -> TenantOut:
    """Renders a tenant."""
    return TenantOut.model_construct(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        status=tenant.status,
        settings=tenant.settings.as_json(),
        metadata=tenant.metadata,
        created_at=tenant.created_at,
        updated_at=tenant.updated_at,
    )
