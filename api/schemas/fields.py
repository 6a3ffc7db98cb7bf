"""Types of fields that several requests and responses have, and times in UTC."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, JsonValue

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.api_keys import LONGEST_USER_ID

UserId = Annotated[str, Field(min_length=1, max_length=LONGEST_USER_ID)]
Document = dict[str, JsonValue]
"""A JSON object, bounded by what reads it."""
SmallDocument = Annotated[Document, Field(max_length=100)]


def utc(moment: datetime | None) -> datetime | None:
    """Returns a time that a caller sent in UTC; None for none.

    Raises:
        Invalid: `time_invalid`.
    """
    try:
        return None if moment is None else moment.astimezone(UTC)
    # The first and the last hours that `datetime` holds may be outside of it in UTC.
    except OverflowError:
        raise Invalid("time_invalid", "There is no such time in UTC.") from None
