"""Administration of users: people and service accounts are created, changed and deactivated.

An actor grants no rights that they lack, changes no user who has more rights, and neither deactivates themselves nor
withdraws their own roles: so a tenant always keeps a user who manages users.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from taskforce.application.identity.principals import Actor, known_roles, load_lasting_principal
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.identity.access_grants import grants_between
from taskforce.core.domain.identity.api_keys import checked_user_id
from taskforce.core.domain.identity.principals import require
from taskforce.core.domain.identity.resource_roles import ResourceGrant, allowed_by
from taskforce.core.domain.identity.roles import check_held, check_no_wider, display_name, permissions_of
from taskforce.core.domain.identity.users import UserKind, UserRecord
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.json_limits import check_document
from taskforce.core.interfaces.identity import Permission, Role
from taskforce.core.interfaces.repositories.identity import UserFilter
from taskforce.core.interfaces.store import Records, Store

LONGEST_EMAIL = 320


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be created.

    Attributes:
        kind: A person or a service account.
        user_id: Of a person, the identity provider's `sub`; a service account gets a new id when it is None.
        username: The display name; the id when left out.
        email: The mail address, where known.
        roles: The roles to grant.
        attributes: Facts for policy conditions, of service accounts only.
    """

    kind: UserKind
    user_id: str | None = None
    username: str | None = None
    email: str | None = None
    roles: frozenset[str] = frozenset()
    attributes: Mapping[str, object] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class UserChange:
    """The changed fields of a user; None leaves a field as it is.

    `roles` and `attributes` replace all that there are. `lent_roles` are the temporary roles that the user keeps; they
    can be withdrawn this way but not granted.
    """

    username: str | None = None
    email: str | None = None
    roles: frozenset[str] | None = None
    active: bool | None = None
    attributes: Mapping[str, object] | None = field(default=None, hash=False)
    lent_roles: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class UserAdministration:
    """The actor and the administered user, both locked for the rest of the transaction.

    Attributes:
        actor: The caller.
        held: The actor's lasting permissions: temporary roles do not count, for changes of users outlast them.
        roles: The actor's lasting roles.
        subject: The administered user; None where there is none of that id.
        grants: The subject's roles on single resources.
        known: The existing roles among those of the subject and of the change.
    """

    actor: Actor
    held: frozenset[Permission]
    roles: frozenset[str]
    subject: UserRecord | None
    grants: Sequence[ResourceGrant]
    known: Mapping[str, Role]

    @property
    def with_oneself(self) -> bool:
        """Returns whether the subject is the actor."""
        return self.subject is not None and self.subject.user_id == self.actor.principal.user.user_id

    def met(self) -> UserRecord:
        """Returns the subject.

        Raises:
            Missing: `user_not_found`.
        """
        if self.subject is None:
            raise missing("user")
        return self.subject

    def check_not_higher(self) -> None:
        """Requires that the subject has no permission that the actor lacks.

        Raises:
            Forbidden: `user_stands_higher`; its message and `details["permissions"]` name those that the actor lacks.
        """
        user, grants = self.met(), self.grants
        if self.with_oneself:
            # `held` has no temporary roles: with them on the subject's side, a user could not change themselves.
            user = replace(user, lent_roles={})
            grants = [one for one in grants if one.expires_at is None]
        reach = _reach(user, grants, self.known, self.actor)
        lacking = sorted(one.value for one in reach if one not in self.held)
        if lacking:
            text = f"This user may do more than you; you lack: {', '.join(lacking)}."
            raise Forbidden("user_stands_higher", text, details={"permissions": lacking})

    def check_handing_on(self, roles: Collection[str]) -> None:
        """Requires that roles exist, give no more permissions than the actor holds, and are held by the actor.

        Raises:
            Invalid, Forbidden: As `check_no_wider` and `check_held`.
        """
        check_no_wider(roles, self.held, self.known)
        check_held(roles, self.roles, self.held)

    def check_no_wider(self, role: str) -> None:
        """Requires that a role exists and gives no more permissions than the actor holds.

        Raises:
            Invalid, Forbidden: As `taskforce.core.domain.identity.roles.check_no_wider`.
        """
        check_no_wider((role,), self.held, self.known)


async def lock_users(records: Records, actor: Actor, user_id: str, roles: Collection[str] = ()) -> UserAdministration:
    """Locks the actor and the administered user, and loads the actor's lasting rights.

    Args:
        records: The tenant's records.
        actor: The caller, cut to their credential.
        user_id: The administered user.
        roles: The roles that the change names.

    Raises:
        Forbidden: `user_deactivated`, `tenant_disabled` or `permission_denied`: the actor has lost their rights since
            the request was authorized.
    """
    own_id = actor.principal.user.user_id
    # Locked in one order, against deadlocks: of two who deactivate each other at once, the second waits and is refused.
    locked = {one: await records.users.locked(one) for one in sorted({own_id, user_id})}
    lasting = await load_lasting_principal(records, actor)
    held = lasting.permissions
    # An actor admitted by a policy rule never held the permission; what they grant is limited to `held` all the same.
    if Permission.USER_MANAGE in actor.principal.permissions:
        require(held, Permission.USER_MANAGE)
    subject = locked[user_id]
    grants = () if subject is None else [one for one in await records.roles.grants(user_id) if one.holds(actor.now)]
    of_subject = () if subject is None else subject.all_roles
    names = {*roles, *of_subject, *(grant.role_id for grant in grants)}
    # Share locks, so that none of these roles is deleted while it is being granted.
    await records.roles.shared(names)
    known = await known_roles(records, names, actor.rules)
    return UserAdministration(actor, held, lasting.roles, subject, grants, known)


async def list_users(
    store: Store, actor: Actor, which: UserFilter, after: str | None, most: int
) -> Sequence[UserRecord]:
    """Lists a page of the tenant's users by id.

    Args:
        store: The tenants' data.
        actor: The caller.
        which: The filter.
        after: The id of the last user of the previous page.
        most: Users at most.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.users.page(which, after, most)


async def find_user(store: Store, actor: Actor, user_id: str) -> UserRecord:
    """Finds a user.

    Raises:
        Missing: `user_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        user = await records.users.get(user_id)
    if user is None:
        raise missing("user")
    return user


async def create_user(store: Store, actor: Actor, new: NewUser) -> UserRecord:
    """Creates a person, before their first sign-in, or a service account.

    Raises:
        Invalid: `user_id_invalid`, `user_name_invalid`, `email_invalid`, `attributes_from_claims`,
            `attributes_malformed` or `roles_unknown`.
        Forbidden: `roles_too_wide`, `roles_not_held`, or as `lock_users`.
        Conflict: `user_exists`.
    """
    tenant_id = actor.principal.tenant.tenant_id
    user = _new_user(tenant_id, new)
    async with store.tenant(tenant_id) as records:
        dealing = await lock_users(records, actor, user.user_id, user.granted_roles)
        dealing.check_handing_on(user.granted_roles)
        if not await records.users.add(user, actor.now):
            raise Conflict("user_exists", "There is a user of this id already.")
        await _note_grants(records, actor, None, user)
        await records.audit.append(_event(actor, "user.create", None, user))
    return user


async def change_user(store: Store, actor: Actor, user_id: str, change: UserChange) -> UserRecord:
    """Changes a user; only roles that are added are compared with the actor's rights.

    Raises:
        Missing: `user_not_found`.
        Invalid: As `create_user`; `roles_not_lent`.
        Forbidden: `user_stands_higher`, `roles_too_wide`, `roles_not_held`, or as `lock_users`.
        Conflict: `not_yourself`: the actor deactivates themselves or withdraws a role of their own.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        dealing = await lock_users(records, actor, user_id, change.roles or ())
        user = dealing.met()
        dealing.check_not_higher()
        changed = _lent(_changed(user, change), change.lent_roles, actor.now)
        if dealing.with_oneself and (not changed.active or not user.granted_roles <= changed.granted_roles):
            raise Conflict("not_yourself", "You cannot deactivate yourself or take a role from yourself; ask another.")
        dealing.check_handing_on(changed.granted_roles - user.granted_roles)
        if changed != user:
            await records.users.save(changed, actor.now)
            await _note_grants(records, actor, user, changed)
            await records.audit.append(_event(actor, _action(user, changed), user, changed))
    return changed


async def deactivate_user(store: Store, actor: Actor, user_id: str) -> None:
    """Deactivates a user; the row stays, because runs, keys and the audit log name it.

    Keys and tokens stay as they are: they give their user's rights at the time of use, which are none.

    Raises:
        Missing, Forbidden, Conflict: As `change_user`.
    """
    await change_user(store, actor, user_id, UserChange(active=False))


async def _note_grants(records: Records, actor: Actor, before: UserRecord | None, after: UserRecord) -> None:
    principal = actor.principal
    await records.access_grants.add(grants_between(before, after, principal.user.user_id, actor.now, principal.key_id))


def _reach(
    user: UserRecord, grants: Iterable[ResourceGrant], known_roles: Mapping[str, Role], actor: Actor
) -> frozenset[Permission]:
    """Returns the permissions that a user has or could regain, by activation or by the claims of a new token."""
    found: set[Permission] = set()
    rules, own = actor.rules, user.granted_roles | user.lent_now(actor.now).keys()
    # Both, for the default role applies only without any other, and may give what the claimed roles do not.
    for roles in (own, own | user.claimed_roles):
        nothing_known = rules.default_role is not None and roles.isdisjoint(known_roles)
        found |= permissions_of({rules.default_role or ""} if nothing_known else roles, known_roles)
    return frozenset(found).union(*(allowed_by(grant, known_roles, actor.now) for grant in grants))


def _new_user(tenant_id: str, new: NewUser) -> UserRecord:
    made_up = new.kind == "service" and new.user_id is None
    user_id = checked_user_id(new_id() if made_up else new.user_id)
    user = UserRecord(tenant_id, user_id, username=user_id, kind=new.kind)
    return _changed(user, UserChange(new.username, new.email, new.roles, None, new.attributes))


def _changed(user: UserRecord, change: UserChange) -> UserRecord:
    if change.attributes is not None:
        if user.kind == "person":
            raise Invalid("attributes_from_claims", "A person's attributes come with their tokens; none are set here.")
        check_document(change.attributes, "attributes")
    return replace(
        user,
        username=user.username if change.username is None else display_name(change.username, "user"),
        email=user.email if change.email is None else _checked_email(change.email),
        granted_roles=user.granted_roles if change.roles is None else change.roles,
        active=user.active if change.active is None else change.active,
        attributes=user.attributes if change.attributes is None else change.attributes,
    )


def _lent(user: UserRecord, staying: frozenset[str] | None, now: datetime) -> UserRecord:
    lent = user.lent_now(now)
    if staying is None or staying == lent.keys():
        return user
    unknown = sorted(staying - lent.keys())
    if unknown:
        raise Invalid("roles_not_lent", f"The user was not lent: {', '.join(unknown)}. Roles are lent by a request.")
    return replace(user, lent_roles={role: lent[role] for role in staying})


def _checked_email(value: str) -> str:
    name, at, domain = value.rpartition("@")
    if name and at and domain and len(value) <= LONGEST_EMAIL and value.isprintable() and " " not in value:
        return value
    raise Invalid("email_invalid", f"A mail address is name@domain, at most {LONGEST_EMAIL} printable characters.")


def _action(before: UserRecord, after: UserRecord) -> str:
    if before.active is after.active:
        return "user.change"
    return "user.activate" if after.active else "user.deactivate"


def _event(actor: Actor, action: str, before: UserRecord | None, after: UserRecord) -> AuditEvent:
    earlier = None if before is None else audit_snapshot(before)
    return actor.event(action, "user", after.user_id, before=earlier, after=audit_snapshot(after))


def audit_snapshot(user: UserRecord) -> dict[str, object]:
    """Returns the fields of a user for audit events."""
    snapshot: dict[str, object] = {
        "kind": user.kind,
        "username": user.username,
        "email": user.email,
        "active": user.active,
        "roles": sorted(user.granted_roles),
    }
    if user.lent_roles:
        snapshot["lent_roles"] = {role: until.isoformat() for role, until in sorted(user.lent_roles.items())}
    # A person's attributes come from their tokens' claims and are not changed here.
    return {**snapshot, "attributes": dict(user.attributes)} if user.kind == "service" else snapshot
