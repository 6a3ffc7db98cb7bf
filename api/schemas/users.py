"""People, service accounts and their roles on single resources, in requests and responses."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.fields import SmallDocument, UserId
from api.schemas.request_body import RequestBody
from taskforce.application.identity.resource_roles import LONGEST_RESOURCE_ID
from taskforce.application.identity.users import LONGEST_EMAIL
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.identity.roles import MAX_NAME
from taskforce.core.domain.identity.users import UserKind, UserRecord
from taskforce.core.interfaces.identity import ResourceType

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Email = Annotated[str, Field(min_length=3, max_length=LONGEST_EMAIL)]
RoleName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
RoleNames = Annotated[list[RoleName], Field(max_length=100)]


class UserIn(RequestBody):
    """A new user.

    Attributes:
        kind: A person, who signs in by tokens, or a service account, which signs in by API keys.
        user_id: A person's is the `sub` of their tokens. A service account may go without: it gets a new id.
        username: A name for people; the id when left out.
        email: The mail address, where known.
        roles: Roles to grant, none of which allows more than you may do.
        attributes: Attributes for policy conditions, for service accounts only: a person's come with their tokens.
    """

    kind: UserKind
    user_id: UserId | None = None
    username: Name | None = None
    email: Email | None = None
    roles: RoleNames = []
    attributes: SmallDocument | None = None


class UserChangeIn(RequestBody):
    """Changes of a user; what is left out, or null, stays as it is.

    Attributes:
        username: A name for people; a person's next token replaces it.
        email: The mail address; a person's next token that has one replaces it.
        roles: All granted roles; those that a person's tokens name are not changed.
        active: False suspends every permission, true restores them.
        attributes: All of a service account's attributes for policy conditions.
        lent_roles: The user's `lent_roles` that stay; the others end at once.
    """

    username: Name | None = None
    email: Email | None = None
    roles: RoleNames | None = None
    active: bool | None = None
    attributes: SmallDocument | None = None
    lent_roles: RoleNames | None = None


class UserOut(BaseModel):
    """A person or a service account.

    Attributes:
        roles: Granted roles; they are in force until they are revoked.
        claimed_roles: Roles that the last token named; they are in force for a bounded time after it was seen.
        claims_seen_at: The time at which that token was last seen; null when there was none.
        lent_roles: Roles that an approved request lent for a time, each with its end; expired ones are left out.
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


class GrantIn(RequestBody):
    """A role on one resource, to be granted."""

    role_id: RoleName
    resource_type: Annotated[ResourceType, Field(strict=False)]
    resource_id: Annotated[str, Field(min_length=1, max_length=LONGEST_RESOURCE_ID)]


class GrantOut(BaseModel):
    """A role on one resource: its permissions for that kind of resource hold there, and nowhere else.

    Attributes:
        expires_at: The time at which it ends; null for never.
    """

    role_id: str
    resource_type: ResourceType
    resource_id: str
    expires_at: datetime | None


def user_out(user: UserRecord, now: datetime) -> UserOut:
    """Renders a user."""
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
    """Renders a role on one resource."""
    return GrantOut(
        role_id=grant.role_id,
        resource_type=grant.resource_type,
        resource_id=grant.resource_id,
        expires_at=grant.expires_at,
    )
