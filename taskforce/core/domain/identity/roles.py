"""The rules of custom roles, of a tenant or a profile.

A custom role has the id `custom:<slug>`, so that it cannot be mistaken for one of the five system roles. Whoever makes
or changes a role grants rights with it, and may grant only permissions that they hold.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Invalid
from taskforce.core.domain.json_limits import check_document
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role

CUSTOM_PREFIX = "custom:"
MAX_NAME = 100
MAX_DESCRIPTION = 2_000

_SLUG = re.compile(r"[a-z0-9_-]{1,60}")
_GAP = re.compile(r"[^a-z0-9_-]+")
_KEYS = frozenset({"name", "permissions", "description"})


def display_name(value: object, what: str) -> str:
    """Requires a displayable name.

    Args:
        value: The value as sent.
        what: The noun for the error, for example `role`.

    Returns:
        The same text.

    Raises:
        Invalid: `<what>_name_invalid`, when it is not 1 to 100 printable characters, or begins or ends with a space.
    """
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable() and value == value.strip():
        return value
    text = f"A name is 1 to {MAX_NAME} printable characters, with no space at either end."
    raise Invalid(f"{what.replace(' ', '_')}_name_invalid", text)


def role_id_of(name: str) -> str:
    """Derives a role's id from its display name: `Data Analyst` becomes `custom:data_analyst`.

    Accents are dropped, and everything between letters and digits becomes one underscore. Letters without an ASCII form
    are refused, not dropped: two names that people tell apart must not become one role.

    Args:
        name: Display name, or a role's id, which is returned as it is.

    Raises:
        Invalid: `role_name_invalid`.
        Conflict: `role_is_system`, when it resembles one of the five system roles.
    """
    plain = _plain(display_name(name, "role")).removeprefix(CUSTOM_PREFIX)
    slug = _GAP.sub("_", plain)
    # A name that is a slug keeps the underscores at its ends.
    slug = slug if _SLUG.fullmatch(plain) else slug.strip("_")
    if any(char.isalnum() and not char.isascii() for char in plain) or not _SLUG.fullmatch(slug):
        raise Invalid("role_name_invalid", "A role's name must spell 1 to 60 of a-z, 0-9, underscores and hyphens.")
    # `agent-designer` reads like the system role `agent_designer`.
    if slug.replace("-", "_") in SYSTEM_ROLES:
        raise _is_system(slug)
    return CUSTOM_PREFIX + slug


def _plain(text: str) -> str:
    # Case folding can produce characters that decompose again, hence the second normalization.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(char for char in folded if not unicodedata.combining(char))


def _free_id(name: str, known_roles: Mapping[str, Role]) -> str:
    role_id = role_id_of(name)
    if role_id in known_roles:
        raise Conflict("role_exists", f"There is a role {role_id} already.")
    return role_id


def _is_system(name: str) -> Conflict:
    return Conflict("role_is_system", f"{name} is a system role; it cannot be taken, changed or removed.")


def permissions_named(values: Iterable[object]) -> frozenset[Permission]:
    """Parses permissions from their names.

    Args:
        values: Names, for example `agent:read`.

    Raises:
        Invalid: `permissions_invalid`; `details["unknown"]` lists every unknown name.
    """
    # A bare string would be read letter by letter.
    names = [values] if isinstance(values, str) else list(values)
    known = {permission.value: permission for permission in Permission}
    found = frozenset(known[name] for name in names if isinstance(name, str) and name in known)
    unknown = [str(name) for name in names if not isinstance(name, str) or name not in known]
    if unknown:
        text = f"No such permission: {', '.join(unknown)}."
        raise Invalid("permissions_invalid", text, details={"unknown": unknown})
    return found


def make_role(
    name: str,
    description: str,
    permissions: Iterable[Permission],
    tenant_id: str | None,
    maker_permissions: Collection[Permission],
    *,
    known_roles: Mapping[str, Role] = SYSTEM_ROLES,
    metadata: Mapping[str, object] | None = None,
) -> Role:
    """Makes a custom role.

    Args:
        name: Display name; the id is derived from it, see `role_id_of`.
        description: Display text, at most 2,000 characters.
        permissions: Its permissions; may be empty, for approvals ask for roles by name.
        tenant_id: The tenant that it belongs to; None for a role of the profile.
        maker_permissions: The maker's permissions now.
        known_roles: The roles that exist in that tenant.
        metadata: Stored as sent, never read.

    Raises:
        Invalid: `role_name_invalid`, `role_description_invalid`, `permissions_invalid`, `metadata_malformed` or
            `tenant_id_invalid`.
        Forbidden: `permissions_too_wide`.
        Conflict: `role_is_system` or `role_exists`.
    """
    role_id = _free_id(name, known_roles)
    facts = dict(metadata or {})
    check_document(facts, "metadata")
    role = Role(role_id, name, _description(description), frozenset(permissions), tenant_id, metadata=facts)
    _check_held(role.permissions, maker_permissions)
    return role


def change_role(
    role: Role,
    maker_permissions: Collection[Permission],
    *,
    name: str | None = None,
    description: str | None = None,
    permissions: Iterable[Permission] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Role:
    """Changes a custom role; fields left out stay. Its id stays too, because users hold it.

    Args:
        role: The role before the change.
        maker_permissions: The author's permissions now. Only added permissions are compared: somebody may remove
            permissions that they do not hold.
        name: Display name.
        description: Display text.
        permissions: All permissions from now on.
        metadata: Replaces the stored metadata.

    Raises:
        Invalid: As `make_role`.
        Forbidden: `permissions_too_wide`.
        Conflict: `role_is_system` or `role_is_profile`.
    """
    check_own(role)
    if name is not None:
        role_id_of(name)
    facts = role.metadata if metadata is None else dict(metadata)
    check_document(facts, "metadata")
    changed = replace(
        role,
        name=role.name if name is None else name,
        description=role.description if description is None else _description(description),
        permissions=role.permissions if permissions is None else frozenset(permissions),
        metadata=facts,
    )
    _check_held(changed.permissions - role.permissions, maker_permissions)
    return changed


def check_own(role: Role) -> None:
    """Requires that a tenant may change or remove a role.

    Raises:
        Conflict: `role_is_system`, or `role_is_profile` for a role of the profile.
    """
    # The flag alone is not trusted: a role that a program built may carry the id of a system role.
    if role.is_system_role or role.role_id in SYSTEM_ROLES:
        raise _is_system(role.role_id)
    if role.tenant_id is None:
        raise Conflict("role_is_profile", f"{role.role_id} stands in the profile and is changed there.")


def _description(value: object) -> str:
    # PostgreSQL's text type refuses NUL and lone surrogates.
    if isinstance(value, str) and len(value) <= MAX_DESCRIPTION and not re.search("[\x00\ud800-\udfff]", value):
        return value
    raise Invalid("role_description_invalid", f"A description is a text of at most {MAX_DESCRIPTION} characters.")


def _check_held(given: Iterable[Permission], held: Collection[Permission]) -> None:
    missing = sorted(permission.value for permission in given if permission not in held)
    if missing:
        text = f"A role gives only what its maker holds; missing: {', '.join(missing)}."
        raise Forbidden("permissions_too_wide", text, details={"permissions": missing})


def check_no_wider(
    roles: Iterable[str], maker_permissions: Collection[Permission], known_roles: Mapping[str, Role] = SYSTEM_ROLES
) -> None:
    """Requires that the granted roles together allow no more than their granter may do.

    Args:
        roles: Ids of the roles that are granted, to a key or a user.
        maker_permissions: The granter's permissions now.
        known_roles: The roles that exist in the tenant.

    Raises:
        Invalid: `roles_unknown`; a name without a role today could give any right once somebody makes that role.
        Forbidden: `roles_too_wide`; its message and `details["permissions"]` name the missing permissions.
    """
    names = sorted(roles)
    unknown = [name for name in names if name not in known_roles]
    if unknown:
        raise Invalid("roles_unknown", f"No such role: {', '.join(unknown)}.", details={"unknown": unknown})
    missing = sorted(one.value for one in permissions_of(names, known_roles) if one not in maker_permissions)
    if missing:
        text = f"These roles allow more than their maker may do; missing: {', '.join(missing)}."
        raise Forbidden("roles_too_wide", text, details={"permissions": missing})


def check_held(roles: Iterable[str], held: Collection[str], permissions: Collection[Permission]) -> None:
    """Requires that the granter holds the granted roles: a role's name is a right too, for approvals ask for it.

    A holder of `policy:manage` decides which roles approve what, and so may grant any role.

    Args:
        roles: Ids of the roles that are granted.
        held: The granter's effective roles now.
        permissions: The granter's permissions now.

    Raises:
        Forbidden: `roles_not_held`; its message and `details["roles"]` name the roles.
    """
    lacking = sorted(name for name in roles if name not in held)
    if lacking and Permission.POLICY_MANAGE not in permissions:
        text = f"You hand on only roles that you hold, or any with policy:manage; missing: {', '.join(lacking)}."
        raise Forbidden("roles_not_held", text, details={"roles": lacking})


def profile_roles(definitions: object) -> Mapping[str, Role]:
    """Parses the roles of a profile, which every tenant has.

    Args:
        definitions: `rbac.custom_roles` as parsed: a list of `name`, `permissions` and, where wanted, `description`.

    Returns:
        The roles by id, in the order of the profile; they belong to no tenant, so that no tenant can change them.

    Raises:
        Invalid: `roles_invalid`; its message and `details["problems"]` list all problems.
    """
    if not isinstance(definitions, Sequence) or isinstance(definitions, str | bytes):
        raise _roles_invalid(["custom_roles is a list."])
    made: dict[str, Role] = {}
    problems: list[str] = []
    for place, definition in enumerate(definitions):
        known = {**SYSTEM_ROLES, **made}
        wrong = list(_problems(definition, known))
        problems += [f"custom_roles[{place}]: {text}" for text in wrong]
        if not wrong:
            role = _profile_role(definition, known)
            made[role.role_id] = role
    if problems:
        raise _roles_invalid(problems)
    return made


def _problems(definition: object, known_roles: Mapping[str, Role]) -> Iterator[str]:
    if not isinstance(definition, Mapping):
        yield "A role has a name and permissions."
        return
    stray = sorted(str(key) for key in definition if key not in _KEYS)
    if stray:
        yield f"Unknown keys: {', '.join(stray)}."
    parts: tuple[Callable[[], object], ...] = (
        lambda: _free_id(display_name(definition.get("name"), "role"), known_roles),
        lambda: _listed(definition.get("permissions")),
        lambda: _description(definition.get("description") or ""),
    )
    for part in parts:
        try:
            part()
        except DomainError as error:
            yield error.message


def _listed(permissions: object) -> frozenset[Permission]:
    if not isinstance(permissions, Sequence) or isinstance(permissions, str | bytes):
        raise Invalid("permissions_invalid", "Permissions are a list of names such as agent:read.")
    return permissions_named(permissions)


def _profile_role(definition: Mapping[str, object], known_roles: Mapping[str, Role]) -> Role:
    held = _listed(definition.get("permissions"))
    return make_role(
        display_name(definition.get("name"), "role"),
        _description(definition.get("description") or ""),
        held,
        None,
        held,
        known_roles=known_roles,
    )


def _roles_invalid(problems: list[str]) -> Invalid:
    return Invalid("roles_invalid", " ".join(problems), details={"problems": problems})


def permissions_of(roles: Iterable[str], known_roles: Mapping[str, Role] = SYSTEM_ROLES) -> frozenset[Permission]:
    """Returns the permissions of roles together.

    Args:
        roles: Role ids; an unknown one gives nothing.
        known_roles: The roles that exist, by id.
    """
    return frozenset(
        permission for name in roles if name in known_roles for permission in known_roles[name].permissions
    )
