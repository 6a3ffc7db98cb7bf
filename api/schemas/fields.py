"""Types of fields that several requests and responses have."""

from typing import Annotated

from pydantic import Field, JsonValue

from taskforce.core.domain.identity.api_keys import LONGEST_USER_ID

UserId = Annotated[str, Field(min_length=1, max_length=LONGEST_USER_ID)]
Document = dict[str, JsonValue]
"""A JSON object, bounded by what reads it."""
SmallDocument = Annotated[Document, Field(max_length=100)]
