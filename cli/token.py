"""`taskforce token`: tokens for development."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.exits import Exit, Trouble
from cli.options import AsJson
from cli.terminal import write_json

SAMPLE_TENANT: Final = "acme-corp"
SAMPLE_USER: Final = "alice"
_HOURS_12: Final = 12 * 3600
_DAYS_30: Final = 30 * 24 * 3600
_TENANT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def token(
    *,
    tenant: Annotated[str, typer.Option("--tenant", help="The user's tenant.")] = SAMPLE_TENANT,
    user: Annotated[str, typer.Option("--user", help="The user's id and name.")] = SAMPLE_USER,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role; may be given again. [operator]")] = None,
    ttl: Annotated[int, typer.Option("--ttl", min=1, max=_DAYS_30, help="Seconds for which it is valid.")] = _HOURS_12,
    as_json: AsJson = False,
) -> None:
    """Prints a token for development; refused in any other profile."""
    if not _TENANT.fullmatch(tenant):
        raise Trouble(Exit.USAGE, "tenant_invalid", "A tenant's id has 1 to 64 of A-Z a-z 0-9 . _ - in it.")
    roles = tuple(role or ["operator"])
    made = _mint(_required_secret(), tenant, user, roles, ttl)
    if as_json:
        write_json({"token": made, "tenant": tenant, "user": user, "roles": list(roles), "ttl_seconds": ttl})
    else:
        typer.echo(made)


def development_token(tenant: str, user: str, roles: Iterable[str]) -> str | None:
    """Signs a token for a local gateway; None where there is no secret for one or this is not development.

    Args:
        tenant: The user's tenant.
        user: The user's id.
        roles: The user's roles.
    """
    from taskforce.core.domain.errors import DomainError

    secret = _secret()
    if not secret:
        return None
    try:
        return _mint(secret, tenant, user, roles, _HOURS_12)
    except DomainError:
        return None


def _mint(secret: str, tenant: str, user: str, roles: Iterable[str], ttl: float) -> str:
    from taskforce.infrastructure.auth.jwt_provider import mint_development_token
    from taskforce.infrastructure.config.settings import Settings

    # The gateway reads the same settings; asking the class spares the environment's other, unrelated mistakes.
    fields = Settings.model_fields
    issuer = os.environ.get("JWT_ISSUER") or str(fields["jwt_issuer"].default)
    audience = os.environ.get("JWT_AUDIENCE") or str(fields["jwt_audience"].default)
    return mint_development_token(secret, tenant, user, roles, ttl, issuer=issuer, audience=audience)


def _required_secret() -> str:
    from taskforce.core.domain.errors import Forbidden
    from taskforce.infrastructure.auth.jwt_provider import in_development

    if not in_development():
        raise Forbidden("development_only", "Such tokens are made in development only: see TASKFORCE_PROFILE.")
    secret = _secret()
    if not secret:
        message = "There is no secret to sign with: JWT_SECRET is not set, and no stack was started from here."
        hint = "`taskforce up` makes one in TASKFORCE_HOME (.taskforce where it is started)."
        raise Trouble(Exit.ERROR, "secret_missing", message, hint=hint)
    return secret


def _secret() -> str:
    given = os.environ.get("JWT_SECRET")
    if given:
        return given
    try:
        return (Path(os.environ.get("TASKFORCE_HOME") or ".taskforce") / "dev-secret").read_text().strip()
    except OSError:
        return ""
