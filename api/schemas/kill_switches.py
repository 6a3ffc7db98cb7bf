"""Kill switches in requests and responses."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.request_body import RequestBody
from taskforce.core.domain.runs.kill_switches import MAX_REASON, KillSwitch, SwitchScope

PREFIX = "/admin/kill-switches"


class KillSwitchIn(RequestBody):
    """A kill switch to be pulled.

    Attributes:
        reason: Why, for people; the owners of halted runs read it.
    """

    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON, pattern=r"\S")]


class KillSwitchOut(BaseModel):
    """A pulled kill switch.

    Attributes:
        scope: What it halts.
        tenant_id: The tenant that it halts; null for all tenants.
        agent_id: The agent that it halts; null for all agents.
        reason: Why it was pulled.
        pulled_by: The user who pulled it.
        pulled_at: When it was pulled.
    """

    scope: SwitchScope
    tenant_id: str | None
    agent_id: str | None
    reason: str
    pulled_by: str
    pulled_at: datetime


def kill_switch_out(tenant_id: str, switch: KillSwitch) -> KillSwitchOut:
    """Renders a kill switch.

    Args:
        tenant_id: The tenant that it belongs to.
        switch: The switch.
    """
    return KillSwitchOut.model_construct(
        scope=switch.scope,
        tenant_id=None if switch.scope is SwitchScope.INSTALLATION else tenant_id,
        agent_id=switch.agent_id or None,
        reason=switch.reason,
        pulled_by=switch.pulled_by,
        pulled_at=switch.pulled_at,
    )
