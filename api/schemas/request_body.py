"""Base of the bodies of requests."""

from pydantic import BaseModel, ConfigDict, model_validator

MOST_UNKNOWN = 50
"""Unknown fields that are refused by name."""


class RequestBody(BaseModel):
    """Refuses unknown fields and converts no type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _cut_unknown(cls, value: object) -> object:
        """Leaves out all but the first unknown fields: an error is made of each, although few are ever shown."""
        if not isinstance(value, dict):
            return value
        unknown = [name for name in value if name not in cls.model_fields]
        left_out = set(unknown[MOST_UNKNOWN:])
        return {name: one for name, one in value.items() if name not in left_out} if left_out else value
