"""People, service accounts and their roles on one resource, as they travel over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from taskforce.application.identity.resource_roles import LONGEST_RESOURCE_ID
from taskforce.application.identity.users import LONGEST_EMAIL
from taskforce.core.domain.identity.api_keys import LONGEST_USER_ID
from taskforce.core.domain.identity.roles import MAX_NAME, ResourceGrant
from taskforce.core.domain.identity.users import UserKind, UserRecord
from taskforce.core.interfaces.identity import ResourceType

UserId = Annotated[str, Field(min_length=1, max_length=LONGEST_USER_ID)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Email = Annotated[str, Field(min_length=3, max_length=LONGEST_EMAIL)]
RoleName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
RoleNames = Annotated[list[RoleName], Field(max_length=100)]
Document = Annotated[dict[str, JsonValue], Field(max_length=100)]


class UserIn(BaseModel):
    """A new user.

    Attributes:
        kind: A person, who signs in by tokens, or a service account, which signs in by API keys.
        user_id: A person's is the `sub` of their tokens. A service account may go without: it gets a new id.
        username: For people; the id when left out.
        email: Where known.
        roles: Roles granted here, none of which allows more than you may do.
        attributes: Plain facts for policies, of a service account only: a person's come with their tokens.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: UserKind
    user_id: UserId | None = None
    username: Name | None = None
    email: Email | None = None
    roles: RoleNames = []
    attributes: Document | None = None


class UserChangeIn(BaseModel):
    """What shall be different; what is left out, or null, stays as it is.

    Attributes:
        username: For people; a person's next token says it anew.
        email: A person's next token that has one says it anew.
        roles: All roles granted here; those that a person's tokens name are not changed.
        active: False takes every right away, true gives them back.
        attributes: All of a service account's plain facts for policies.
        lent_roles: Those of the user's `lent_roles` that stay; the others end at once.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    username: Name | None = None
    email: Email | None = None
    roles: RoleNames | None = None
    active: bool | None = None
    attributes: Document | None = None
    lent_roles: RoleNames | None = None


class UserOut(BaseModel):
    """A person or service account.

    Attributes:
        roles: Roles granted here; they count until they are taken back.
        claimed_roles: Roles that the last token named; they count while it was seen not too long ago.
        claims_seen_at: When that token was seen last; null when there was none.
        lent_roles: Roles that an approved request gave until a time, each with its end; those that are over are left
            out.
    """

    user_id: str
    kind: UserKind
    username: str
    email: str | None
    active: bool
    roles: list[str]
    claimed_roles: list[str]
    claims_seen_at: datetime | None
    attributes: Mapping[str, object]
    lent_roles: Mapping[str, datetime]


class GrantIn(BaseModel):
    """A role on one resource."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    role_id: RoleName
    resource_type: Annotated[ResourceType, Field(strict=False)]
    resource_id: Annotated[str, Field(min_length=1, max_length=LONGEST_RESOURCE_ID)]


class GrantOut(BaseModel):
    """A role on one resource: what it allows about that kind of thing counts there, and nowhere else.

    Attributes:
        expires_at: When it ends; null for never.
    """

    role_id: str
    resource_type: ResourceType
    resource_id: str
    expires_at: datetime | None


def user_out(user: UserRecord, now: datetime) -> UserOut:
    """The user as it is sent."""
    return UserOut.model_construct(
        user_id=user.user_id,
        kind=user.kind,
        username=user.username,
        email=user.email,
        active=user.active,
        roles=sorted(user.granted_roles),
        claimed_roles=sorted(user.claimed_roles),
        claims_seen_at=user.claims_seen_at,
        attributes=user.attributes,
        lent_roles=user.lent_now(now),
    )


def grant_out(grant: ResourceGrant) -> GrantOut:
    """The grant as it is sent."""
    return GrantOut(
        role_id=grant.role_id,
        resource_type=grant.resource_type,
        resource_id=grant.resource_id,
        expires_at=grant.expires_at,
    )
