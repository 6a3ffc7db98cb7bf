"""Delegations as they travel over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from taskforce.core.domain.approvals.records import Delegation


class DelegationIn(BaseModel):
    """Who shall decide in the caller's place, and how long.

    Attributes:
        delegate_id: Who.
        since: From when on; left out, from now on.
        until: Until when.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delegate_id: Annotated[str, Field(min_length=1, max_length=200)]
    since: AwareDatetime | None = None
    until: AwareDatetime


class DelegationOut(BaseModel):
    """Who decides in somebody's place, and how long."""

    user_id: str
    delegate_id: str
    since: datetime
    until: datetime


def delegation_out(delegation: Delegation) -> DelegationOut:
    """A delegation as its maker sees it."""
    return DelegationOut(
        user_id=delegation.user_id,
        delegate_id=delegation.delegate_id,
        since=delegation.since,
        until=delegation.until,
    )
