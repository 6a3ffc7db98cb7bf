"""Approval delegations in requests and responses."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.schemas.request_body import RequestBody
from taskforce.core.domain.approvals.records import Delegation


class DelegationIn(RequestBody):
    """A delegation of the caller's decisions to another user, for a time.

    Attributes:
        delegate_id: The user who decides in the caller's place.
        since: The beginning; left out, now.
        until: The end.
    """

    model_config = ConfigDict(strict=False)

    delegate_id: Annotated[str, Field(min_length=1, max_length=200)]
    since: AwareDatetime | None = None
    until: AwareDatetime


class DelegationOut(BaseModel):
    """A delegation of somebody's decisions to another user."""

    user_id: str
    delegate_id: str
    since: datetime
    until: datetime


def delegation_out(delegation: Delegation) -> DelegationOut:
    """Renders a delegation for its owner."""
    return DelegationOut(
        user_id=delegation.user_id,
        delegate_id=delegation.delegate_id,
        since=delegation.since,
        until=delegation.until,
    )
