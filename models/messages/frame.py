"""What every message between workflows and activities has in common."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Frozen; unknown fields are ignored, so that an older worker can read what a newer one wrote.

    Fields are only ever added, with defaults: histories of all releases must replay. Fields that were not set are not
    written, which keeps histories small.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class RunRef(Message):
    """Names a run; everything else about it is a row."""

    tenant_id: str
    run_id: str
