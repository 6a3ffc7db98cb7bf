"""API keys in requests and responses; the secret is in the response of its creation only."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from api.schemas.fields import SmallDocument, UserId
from api.schemas.request_body import RequestBody
from api.schemas.users import Name, RoleName
from taskforce.core.domain.identity.api_keys import ApiKey, KeyState

_DAY_AND_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


def _rfc_3339(value: object) -> object:
    # Without this check pydantic takes a number, also one in a string, for seconds since 1970.
    if value is None or (isinstance(value, str) and _DAY_AND_TIME.match(value)):
        return value
    raise ValueError("a time is a text as in RFC 3339, with a time zone: 2030-01-31T12:00:00Z")


Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_rfc_3339)]


class ApiKeyIn(RequestBody):
    """An API key to be issued.

    Attributes:
        name: A name for people.
        roles: The roles that bound it; it never allows more than you may do now, nor more than its user may do when it
            is used.
        user_id: The person or service account on whose behalf it acts; yourself when left out.
        expires_at: From when it is no longer accepted, RFC 3339; at most, and when left out, 366 days away.
        metadata: Data that the product stores and does not interpret.
    """

    name: Name
    roles: Annotated[list[RoleName], Field(min_length=1, max_length=100)]
    user_id: UserId | None = None
    expires_at: Time | None = None
    metadata: SmallDocument = {}


class ApiKeyOut(BaseModel):
    """An API key without its secret.

    Attributes:
        user_id: On whose behalf it acts.
        prefix: Its first eight characters, by which people tell keys apart.
        last_used_at: To the minute; null before its first use.
    """

    key_id: str
    user_id: str
    name: str
    prefix: str
    roles: list[str]
    state: KeyState
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    metadata: Mapping[str, object]


class IssuedKeyOut(ApiKeyOut):
    """An API key that was just issued, with its secret.

    Attributes:
        api_key: The secret itself, sent now and never again: send it as `X-API-Key`, or as a bearer token.
    """

    api_key: Annotated[str, Field(repr=False)]


def key_out(key: ApiKey, now: datetime) -> ApiKeyOut:
    """Renders an API key."""
    return ApiKeyOut.model_construct(
        key_id=key.key_id,
        user_id=key.user_id,
        name=key.name,
        prefix=key.prefix,
        roles=sorted(key.roles),
        state=key.state(now),
        created_at=key.created_at,
        created_by=key.created_by,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
        metadata=key.metadata,
    )


def issued_out(key: ApiKey, plaintext: str, now: datetime) -> IssuedKeyOut:
    """Renders an API key with its secret."""
    return IssuedKeyOut(**key_out(key, now).model_dump(), api_key=plaintext)
