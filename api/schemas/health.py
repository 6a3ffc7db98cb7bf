"""Health and readiness in responses."""

from typing import Literal

from pydantic import BaseModel


class AliveOut(BaseModel):
    """Liveness: the process answers."""

    status: Literal["alive"]


class PartOut(BaseModel):
    """The health of one dependency of the gateway."""

    ok: bool
    detail: str | None = None


class ReadyOut(BaseModel):
    """Readiness: whether the gateway can serve requests."""

    status: Literal["ready", "not_ready"]
    parts: dict[str, PartOut]
