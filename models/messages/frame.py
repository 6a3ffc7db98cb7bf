"""The base of messages between workflows and activities."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """The base of all messages: frozen; unknown fields are ignored, so that older workers read newer messages.

    Fields are only ever added, with defaults: histories of all releases must replay. Unset fields are not serialized,
    which keeps histories small.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class RunRef(Message):
    """A reference to a run; its data is rows."""

    tenant_id: str
    run_id: str
