"""Roles, users and session states for programs that embed the library, and a decorator that requires a permission.

Each class keeps its aggregates in memory and applies the rules of the core; a program creates the instances that it
needs: `role_manager = RoleManager()`, `user_manager = UserManager(role_manager)`, and for each tenant
`state_manager = StateManager(tenant)`. Where a `grantor` is given, that user's rights limit what can be granted;
without one the program itself acts, without limits.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import iscoroutinefunction, signature
from typing import ParamSpec, TypeVar, cast

from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.identity.api_keys import checked_user_id
from taskforce.core.domain.identity.principals import require
from taskforce.core.domain.identity.roles import (
    change_role,
    check_held,
    check_no_wider,
    check_own,
    display_name,
    make_role,
    permissions_of,
)
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.ids import missing
from taskforce.core.domain.json_limits import check_document
from taskforce.core.interfaces.identity import (
    SYSTEM_ROLES,
    Permission,
    Role,
    TenantContext,
    UserContext,
    checked_tenant_id,
)

P = ParamSpec("P")
R = TypeVar("R")


def _rights(grantor: UserContext | None, tenant_id: str) -> frozenset[Permission]:
    if grantor is None:
        return frozenset(Permission)
    if grantor.tenant_id != tenant_id:
        raise Forbidden("foreign_tenant", "This belongs to another tenant.")
    return frozenset(grantor.permissions)


class RoleManager:
    """The roles of each tenant: the five system roles, those of a profile, and the tenant's own.

    Args:
        profile: Roles that every tenant has besides the system roles; see `roles.profile_roles`.
    """

    def __init__(self, profile: Mapping[str, Role] | None = None) -> None:
        self._shared = {**SYSTEM_ROLES, **(profile or {})}
        self._own: dict[str, dict[str, Role]] = {}

    def known_roles(self, tenant_id: str) -> Mapping[str, Role]:
        """Returns all roles that a tenant's users can hold, by the names that they hold."""
        return {**self._shared, **self._own.get(tenant_id, {})}

    async def create_role(
        self,
        name: str,
        description: str,
        permissions: Iterable[Permission],
        tenant_id: str,
        metadata: Mapping[str, object] | None = None,
        *,
        grantor: UserContext | None = None,
    ) -> Role:
        """Creates a custom role; `Data Analyst` has the id `custom:data_analyst`.

        Raises:
            Invalid: As `taskforce.core.domain.identity.roles.make_role`.
            Forbidden: `permissions_too_wide` or `foreign_tenant`.
            Conflict: `role_is_system` or `role_exists`.
        """
        tenant = checked_tenant_id(tenant_id)
        held = _rights(grantor, tenant)
        role = make_role(
            name, description, permissions, tenant, held, known_roles=self.known_roles(tenant), metadata=metadata
        )
        self._own.setdefault(tenant, {})[role.role_id] = role
        return role

    async def get_role(self, role_id: str, tenant_id: str) -> Role:
        """Returns a role.

        Raises:
            Missing: `role_not_found`, for another tenant's too.
        """
        return self._role(role_id, tenant_id)

    async def list_roles(self, tenant_id: str) -> list[Role]:
        """Lists the system roles, those of the profile, and the tenant's own in the order of their creation."""
        return list(self.known_roles(tenant_id).values())

    async def update_role(
        self,
        role_id: str,
        tenant_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        permissions: Iterable[Permission] | None = None,
        metadata: Mapping[str, object] | None = None,
        grantor: UserContext | None = None,
    ) -> Role:
        """Changes a custom role; fields that are None stay as they are.

        Raises:
            Missing: `role_not_found`.
            Invalid: As `taskforce.core.domain.identity.roles.change_role`.
            Forbidden: `permissions_too_wide` or `foreign_tenant`.
            Conflict: `role_is_system` or `role_is_profile`.
        """
        held, role = _rights(grantor, tenant_id), self._role(role_id, tenant_id)
        changed = change_role(
            role, held, name=name, description=description, permissions=permissions, metadata=metadata
        )
        self._own[tenant_id][role_id] = changed
        return changed

    async def delete_role(self, role_id: str, tenant_id: str) -> None:
        """Deletes a custom role; users may still hold its id, which then gives no permissions.

        Raises:
            Missing: `role_not_found`.
            Conflict: `role_is_system` or `role_is_profile`.
        """
        check_own(self._role(role_id, tenant_id))
        del self._own[tenant_id][role_id]

    def _role(self, role_id: str, tenant_id: str) -> Role:
        role = self.known_roles(tenant_id).get(role_id)
        if role is None:
            raise missing("role")
        return role


class UserManager:
    """The users of each tenant and the roles granted to them.

    Args:
        roles: The roles that exist; the five system roles when left out.
        clock: Returns the time, UTC.
    """

    def __init__(
        self, roles: RoleManager | None = None, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._roles = RoleManager() if roles is None else roles
        self._clock = clock
        self._users: dict[tuple[str, str], UserRecord] = {}

    async def create_user(
        self,
        user_id: str,
        tenant_id: str,
        username: str | None = None,
        email: str | None = None,
        roles: Iterable[str] = (),
        *,
        grantor: UserContext | None = None,
    ) -> UserRecord:
        """Creates a user or service account.

        Args:
            user_id: Opaque and stable within the tenant.
            tenant_id: The tenant.
            username: The display name; the user id when left out.
            email: The mail address, where known.
            roles: The ids of existing roles.
            grantor: The user whose rights limit the roles.

        Raises:
            Invalid: `user_id_invalid`, `tenant_id_invalid`, `user_name_invalid`, `roles_invalid` or `roles_unknown`.
            Forbidden: `roles_too_wide`, `roles_not_held` or `foreign_tenant`.
            Conflict: `user_exists`.
        """
        place = (checked_tenant_id(tenant_id), checked_user_id(user_id))
        if place in self._users:
            raise Conflict("user_exists", "There is a user of this id already.")
        name = user_id if username is None else display_name(username, "user")
        user = UserRecord(tenant_id=tenant_id, user_id=user_id, username=name, email=email)
        self._users[place] = self._granted(user, roles, grantor)
        return self._users[place]

    async def get_user(self, user_id: str, tenant_id: str) -> UserRecord:
        """Returns a user.

        Raises:
            Missing: `user_not_found`, for another tenant's too.
        """
        return self._user(user_id, tenant_id)

    async def list_users(self, tenant_id: str) -> list[UserRecord]:
        """Lists the users of a tenant, deactivated ones too, in the order of their creation."""
        return [user for (owner, _), user in self._users.items() if owner == tenant_id]

    async def update_user(
        self,
        user_id: str,
        tenant_id: str,
        roles: Iterable[str] | None = None,
        username: str | None = None,
        email: str | None = None,
        *,
        active: bool | None = None,
        grantor: UserContext | None = None,
    ) -> UserRecord:
        """Changes a user; fields that are None stay as they are.

        Args:
            user_id: The user.
            tenant_id: The tenant.
            roles: All roles that it holds from now on; the grantor's rights limit those that are added.
            username: The display name.
            email: The mail address.
            active: False deactivates the user, True activates it again.
            grantor: The user whose rights limit the roles.

        Raises:
            Missing: `user_not_found`.
            Invalid: `user_name_invalid`, `roles_invalid` or `roles_unknown`.
            Forbidden: `roles_too_wide`, `roles_not_held` or `foreign_tenant`.
        """
        _rights(grantor, tenant_id)
        user = self._user(user_id, tenant_id)
        changed = replace(
            user,
            username=user.username if username is None else display_name(username, "user"),
            email=user.email if email is None else email,
            active=user.active if active is None else active,
        )
        self._users[tenant_id, user_id] = changed if roles is None else self._granted(changed, roles, grantor)
        return self._users[tenant_id, user_id]

    async def deactivate_user(self, user_id: str, tenant_id: str) -> UserRecord:
        """Deactivates a user, which also disables its API keys.

        Raises:
            Missing: `user_not_found`.
        """
        return await self.update_user(user_id, tenant_id, active=False)

    async def user_context(self, user_id: str, tenant_id: str) -> UserContext | None:
        """Returns a user with current roles and permissions; None where it does not exist or is deactivated.

        To be passed to `taskforce.infrastructure.auth.api_key_provider.APIKeyProvider(users=...)`.
        """
        user = self._users.get((tenant_id, user_id))
        if user is None or not user.active:
            return None
        # No token is ever seen here, so there are no claims to age.
        roles = user.effective_roles(self._clock(), timedelta(0))
        return UserContext(
            user_id=user.user_id,
            tenant_id=user.tenant_id,
            username=user.username,
            email=user.email,
            roles=roles,
            permissions=permissions_of(roles, self._roles.known_roles(tenant_id)),
        )

    def _user(self, user_id: str, tenant_id: str) -> UserRecord:
        user = self._users.get((tenant_id, user_id))
        if user is None:
            raise missing("user")
        return user

    def _granted(self, user: UserRecord, roles: Iterable[str], grantor: UserContext | None) -> UserRecord:
        # A text is an iterable of its characters: passed by mistake, it would be taken for roles of one letter.
        wanted = frozenset() if isinstance(roles, str) else frozenset(roles)
        if isinstance(roles, str) or not all(isinstance(name, str) for name in wanted):
            raise Invalid("roles_invalid", "Roles are a set of names.")
        incoming = wanted - user.granted_roles
        check_no_wider(incoming, _rights(grantor, user.tenant_id), self._roles.known_roles(user.tenant_id))
        if grantor is not None:
            check_held(incoming, grantor.roles, grantor.permissions)
        return replace(user, granted_roles=wanted)


class StateManager:
    """The session states of one tenant; a session id is `<tenant id>:<rest>`, and ids of other tenants are refused.

    Args:
        tenant: The tenant.

    Raises:
        Invalid: `tenant_id_invalid`.
    """

    def __init__(self, tenant: TenantContext | str) -> None:
        self._tenant_id = checked_tenant_id(tenant.tenant_id if isinstance(tenant, TenantContext) else tenant)
        self._states: dict[str, str] = {}

    async def save_state(self, session_id: str, state_data: Mapping[str, object]) -> None:
        """Stores a copy of a state, in place of the session's earlier one.

        Args:
            session_id: The session.
            state_data: A JSON object; later changes of it do not change the copy.

        Raises:
            Invalid: `session_id_invalid` or `state_malformed`.
            Forbidden: `foreign_tenant`.
        """
        owner, colon, rest = session_id.partition(":")
        if not (owner and colon and rest):
            raise Invalid("session_id_invalid", "A session id is the tenant's id, a colon and the session's own name.")
        if owner != self._tenant_id:
            raise Forbidden("foreign_tenant", "This session belongs to another tenant.")
        self._states[session_id] = _as_json(state_data)

    async def load_state(self, session_id: str) -> dict[str, object] | None:
        """Returns a copy of a state; None where there is none, and for sessions of other tenants alike."""
        text = self._states.get(session_id)
        return None if text is None else cast("dict[str, object]", json.loads(text))


def _as_json(state: Mapping[str, object]) -> str:
    check_document(state, "state")
    try:
        text = json.dumps(state, allow_nan=False)
        faithful = isinstance(state, dict) and json.loads(text) == state
    except (TypeError, ValueError):
        faithful, text = False, ""
    # Values that JSON would silently change (tuples to lists, keys that are numbers to texts) are refused.
    if not faithful:
        raise Invalid("state_malformed", "A state is a JSON object: text keys, lists, texts, numbers, booleans, null.")
    return text


def require_permission(permission: Permission) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function, asynchronous or not, so that its caller's `user` must hold a permission.

    Args:
        permission: The permission, required of the function's argument `user`.

    Returns:
        The decorator. The decorated function raises `Forbidden` (`permission_denied`) before its body runs, also where
        `user` is not a `UserContext`.

    Raises:
        TypeError: While decorating, when the function has no parameter `user`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        # Checked while decorating, so that the mistake shows at import and not at the first call.
        parameters = signature(function)
        if "user" not in parameters.parameters:
            raise TypeError("A function that requires a permission has a parameter named user.")

        def check(*args: P.args, **kwargs: P.kwargs) -> None:
            user = parameters.bind(*args, **kwargs).arguments.get("user")
            require(user.permissions if isinstance(user, UserContext) else frozenset(), permission)

        @wraps(function)
        async def asynchronous(*args: P.args, **kwargs: P.kwargs) -> object:
            check(*args, **kwargs)
            return await cast("Callable[P, Awaitable[object]]", function)(*args, **kwargs)

        @wraps(function)
        def synchronous(*args: P.args, **kwargs: P.kwargs) -> R:
            check(*args, **kwargs)
            return function(*args, **kwargs)

        return cast("Callable[P, R]", asynchronous) if iscoroutinefunction(function) else synchronous

    return decorate
