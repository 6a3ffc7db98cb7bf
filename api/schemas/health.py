"""Signs of life, as they travel over HTTP."""

from typing import Literal

from pydantic import BaseModel


class AliveOut(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class PartOut(BaseModel):
    """Whether a part that the gateway needs does its work."""

    ok: bool
    detail: str | None = None


class ReadyOut(BaseModel):
    """Whether the gateway can do its work."""

    status: Literal["ready", "not_ready"]
    parts: dict[str, PartOut]
