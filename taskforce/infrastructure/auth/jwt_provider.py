"""Identity provider for signed tokens, and tokens for development and tests."""

import os
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from taskforce.core.domain.errors import Forbidden, Invalid, Unauthenticated
from taskforce.core.domain.identity.principals import PLATFORM_TENANT
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.interfaces.identity import Identity, UserContext
from taskforce.infrastructure.auth.jwks import Jwks, JwksTiming
from taskforce.infrastructure.auth.jwt_claims import LONGEST_PREFIX, ClaimNames, RoleRules, TenantRules, identity_of
from taskforce.infrastructure.auth.jwt_guard import (
    AudienceClaim,
    KeyRecord,
    SignatureMismatch,
    TokenGuard,
    TokenRules,
    VerifiedToken,
    sign,
    unverified_origin,
)
from taskforce.infrastructure.auth.jwt_keys import ALGORITHMS, HMAC_ALGORITHMS, algorithms_for, public_key

DEVELOPMENT_ISSUER: Final = "https://auth.yourcompany.com"
"""The guide's example, so that its token fits its configuration; accepted in development only."""
DEVELOPMENT_AUDIENCE: Final = "taskforce-api"

_DEVELOPMENT_PROFILES: Final = frozenset({"", "dev", "development", "test"})


def in_development(environment: Mapping[str, str] | None = None) -> bool:
    """Returns whether this process may relax what only development may relax.

    Args:
        environment: Environment variables; the process's own by default.

    Returns:
        True when `TASKFORCE_PROFILE` is `dev`, `development`, `test`, or not set.
    """
    return (os.environ if environment is None else environment).get("TASKFORCE_PROFILE", "") in _DEVELOPMENT_PROFILES


@dataclass(frozen=True)
class JWTConfig:
    """Configures the validation of one issuer's tokens.

    Attributes:
        secret_key: Shared secret for HS*; 32 bytes or more outside development.
        public_key: Public key in PEM, for RS* or ES*.
        keys: Further keys, each with its own algorithm; with names when several are in use.
        algorithms: The algorithms that are accepted, exactly one for `secret_key` and one for `public_key`. When empty,
            those two are used with HS256, and with RS256 or the algorithm of the key's curve. With `jwks_uri` any
            number; a published key that names no algorithm is used with the first that fits it.
        issuer: What `iss` must equal. It may be left out in development only, for `DEVELOPMENT_ISSUER`.
        audience: What `aud` must equal or contain. It may be left out in development only, for `DEVELOPMENT_AUDIENCE`.
        audience_claim: The claim that names the audience: `aud`, or `client_id` for the access tokens of AWS Cognito.
        token_use: What the claim `token_use` must equal, for example `access`; None when it is not looked at.
        platform: Whether an issuer that is bound to no tenant speaks for the platform's too; a bound one names it.
        leeway_seconds: Tolerated difference of clocks, 0 to 300 seconds.
        tenant_claim: The claim of the tenant's id: a name, or a path such as `organization.id`.
        roles_claim: The claim of the roles: a list of names or of objects with a `name`, or one text separated by
            spaces or commas.
        username_claim: The claim of the name for people.
        email_claim: The claim of the mail address.
        jwks_uri: Where the issuer publishes its keys, instead of keys that are configured here; https, or in
            development http on this machine.
        jwks_timing: The intervals of fetching them.
        tenant: The tenant of all its tokens, for an issuer whose tokens name none.
        tenants: The tenants that the issuer may speak for; None for every one.
        tenant_map: The tenant by the value of `tenant_claim`, for issuers with ids of their own.
        user_prefix: The prefix of its people's ids, before `sub`. Issuers that speak for one tenant have each
            their own; the same one, said by both, says that the same `sub` is the same person.
        group_roles: Role names by the name of a group in `roles_claim`. When set, other groups give nothing.
        default_role: The role of a user whose token names no valid role.
    """

    secret_key: str | None = field(default=None, repr=False)
    public_key: str | None = field(default=None, repr=False)
    keys: tuple[KeyRecord, ...] = ()
    algorithms: Sequence[str] = ()
    issuer: str | None = None
    audience: str | None = None
    leeway_seconds: float = 30
    tenant_claim: str = "org_id"
    roles_claim: str = "roles"
    username_claim: str = "preferred_username"
    email_claim: str = "email"
    jwks_uri: str | None = None
    jwks_timing: JwksTiming = field(default_factory=JwksTiming)
    tenant: str | None = None
    tenants: Collection[str] | None = None
    tenant_map: Mapping[str, str] | None = field(default=None, hash=False)
    user_prefix: str | None = None
    group_roles: Mapping[str, Collection[str]] | None = field(default=None, hash=False)
    default_role: str | None = None
    audience_claim: AudienceClaim = "aud"
    token_use: str | None = None
    platform: bool = False


class JWTIdentityProvider:
    """Authenticates the bearers of tokens of one issuer.

    Args:
        config: What the issuer's tokens must fulfil.
        development: Whether short secrets, missing issuers and claims of the platform's tenant are tolerated;
            `in_development()` by default.
        clock: Returns the time, UTC.
        platform_tenant: The tenant whose people run the platform: outside development only an issuer that is bound to
            it by name speaks for it.

    Raises:
        Invalid: `signing_key_missing`, `signing_key_invalid`, `algorithms_invalid`, `token_rules_invalid`,
            `jwks_uri_invalid`, `tenant_binding_invalid`, `tenant_id_invalid`, `user_prefix_invalid` or
            `role_mapping_invalid`.
    """

    def __init__(
        self,
        config: JWTConfig,
        *,
        development: bool | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        platform_tenant: str = PLATFORM_TENANT,
    ) -> None:
        lenient = in_development() if development is None else development
        self._rules = _rules(config, lenient=lenient)
        self._names = ClaimNames(config.tenant_claim, config.roles_claim, config.username_claim, config.email_claim)
        self._tenants, self._roles = _tenants(config, None if lenient else platform_tenant), _roles(config)
        self.user_prefix = _prefix(config)
        self._clock = clock
        self._jwks = _jwks(config, lenient=lenient, clock=clock)
        self._records = () if self._jwks else _keys(config, lenient=lenient)
        self._guard = None if self._jwks else TokenGuard(self._records, self._rules)

    @property
    def issuer(self) -> str:
        """Returns what `iss` of its tokens must equal."""
        return self._rules.issuer

    @property
    def tenants(self) -> frozenset[str] | None:
        """Returns the tenants that it may speak for; None for every one."""
        rules = self._tenants
        if rules.fixed is not None:
            return frozenset({rules.fixed})
        return rules.allowed if rules.names is None else frozenset(rules.names.values())

    async def authenticate(self, token: str | None) -> Identity:
        """Verifies a token and returns the identity that it names.

        Args:
            token: The token, without `Bearer`.

        Raises:
            Unauthenticated: `token_missing`, `token_expired` or `token_invalid`.
            Unavailable: `issuer_unavailable`: the issuer's keys cannot be had; never without a `jwks_uri`.
        """
        verified = await self._verified(token)
        return identity_of(verified, self._names, self._tenants, self._roles, self.user_prefix or "")

    async def _verified(self, token: str | None) -> VerifiedToken:
        if self._jwks is None:
            return self._guarded(self._records, token)
        seen = unverified_origin(token)
        # Before any fetch: a token that names somebody else must not make this server ask the issuer for keys.
        if seen.issuer != self.issuer:
            raise Unauthenticated("token_invalid", "The token is from another issuer.")
        records = await self._jwks.records(seen.kid)
        try:
            return self._guarded(records, token)
        except SignatureMismatch:
            # The issuer may have replaced a key by one with the same `kid`, or with none: try refreshed keys once.
            others = await self._jwks.others(records)
            if others is None:
                raise
        return self._guarded(others, token)

    def _guarded(self, records: tuple[KeyRecord, ...], token: str | None) -> VerifiedToken:
        # By identity: `Jwks` returns the same tuple until the keys change, and a guard caches parsed keys.
        if records is not self._records:
            self._records = records
            self._guard = TokenGuard(records, self._rules) if records else None
        if self._guard is None:
            raise Unauthenticated("token_invalid", "The issuer publishes no key that tokens may be signed with.")
        return self._guard.verify(token, self._clock())

    async def validate_token(self, token: str) -> UserContext | None:
        """Returns the bearer with the permissions of the claimed roles, or None when the token is not accepted.

        Raises:
            Unavailable: `issuer_unavailable`, as above: nobody can say whether to believe it.
        """
        try:
            identity = await self.authenticate(token)
        except Unauthenticated:
            return None
        return UserContext(
            user_id=identity.user_id,
            tenant_id=identity.tenant_id,
            username=identity.username,
            email=identity.email,
            roles=identity.roles,
            permissions=permissions_of(identity.roles),
            attributes=identity.attributes,
        )


def create_test_jwt(
    user_id: str,
    tenant_id: str,
    roles: Iterable[str],
    secret_key: str,
    expires_in_seconds: float = 3600,
    *,
    issuer: str = DEVELOPMENT_ISSUER,
    audience: str = DEVELOPMENT_AUDIENCE,
    **claims: object,
) -> str:
    """Creates a token for development and tests, signed with HS256.

    Args:
        user_id: Becomes `sub`.
        tenant_id: Becomes `org_id`.
        roles: Become `roles`.
        secret_key: The secret that the provider is configured with.
        expires_in_seconds: Seconds from now; negative for a token that has expired.
        issuer: Becomes `iss`; as the provider is configured.
        audience: Becomes `aud`; as the provider is configured.
        **claims: Further claims; one of the same name replaces the one above.

    Raises:
        Forbidden: `development_only` outside development.
        Invalid: `signing_key_invalid` for an empty secret or one that is a key pair's, `claims_invalid` for claims that
            are not JSON.
    """
    standard = _claims(user_id, tenant_id, roles, ttl_seconds=expires_in_seconds, issuer=issuer, audience=audience)
    return _signed({**standard, **claims}, secret_key)


def mint_development_token(
    secret: str,
    tenant: str,
    user: str,
    roles: Iterable[str],
    ttl_seconds: float = 3600,
    *,
    issuer: str = DEVELOPMENT_ISSUER,
    audience: str = DEVELOPMENT_AUDIENCE,
) -> str:
    """Creates the token of a made-up user, as complete as an identity provider's, signed with HS256.

    Args:
        secret: The secret that the gateway is configured with.
        tenant: The user's tenant.
        user: The user's id and name.
        roles: The user's roles.
        ttl_seconds: Seconds from now; negative for a token that has expired.
        issuer: As the gateway is configured.
        audience: As the gateway is configured.

    Raises:
        Forbidden: `development_only` outside development.
        Invalid: `signing_key_invalid` for an empty secret or one that is a key pair's.
    """
    email = user if "@" in user else f"{user}@{tenant}.example"
    claims = _claims(user, tenant, roles, ttl_seconds=ttl_seconds, issuer=issuer, audience=audience)
    return _signed({**claims, "preferred_username": user, "email": email}, secret)


def _claims(
    user: str, tenant: str, roles: Iterable[str], *, ttl_seconds: float, issuer: str, audience: str
) -> dict[str, object]:
    now = int(datetime.now(UTC).timestamp())
    return {
        "iss": issuer,
        "aud": audience,
        "sub": user,
        "org_id": tenant,
        "roles": sorted(roles),
        "iat": now,
        "exp": now + ttl_seconds,
        "jti": str(uuid.uuid4()),
    }


def _signed(claims: Mapping[str, object], secret: str) -> str:
    if not in_development():
        raise Forbidden("development_only", "Such tokens are made in development only: see TASKFORCE_PROFILE.")
    return sign(claims, KeyRecord(None, "HS256", secret, allow_short_secret=True))


def _rules(config: JWTConfig, *, lenient: bool) -> TokenRules:
    issuer = config.issuer or (DEVELOPMENT_ISSUER if lenient else "")
    audience = config.audience or (DEVELOPMENT_AUDIENCE if lenient else "")
    return TokenRules(issuer, audience, config.leeway_seconds, config.audience_claim, config.token_use)


def _tenants(config: JWTConfig, platform: str | None) -> TenantRules:
    allowed = None if config.tenants is None else frozenset(_listed(config.tenants, "tenant_binding_invalid"))
    return TenantRules(config.tenant, allowed, config.tenant_map, None if config.platform else platform)


def _prefix(config: JWTConfig) -> str | None:
    prefix = config.user_prefix
    if prefix is None or (len(prefix) <= LONGEST_PREFIX and prefix.isprintable() and not prefix.startswith(" ")):
        return prefix
    raise Invalid("user_prefix_invalid", f"A user_prefix has at most {LONGEST_PREFIX} printable characters.")


def _roles(config: JWTConfig) -> RoleRules:
    if config.group_roles is None:
        return RoleRules(None, config.default_role)
    groups = {group: frozenset(_listed(roles, "role_mapping_invalid")) for group, roles in config.group_roles.items()}
    return RoleRules(groups, config.default_role)


def _listed(names: Collection[str], code: str) -> Collection[str]:
    """Refuses a plain string, which would count as a sequence of its letters."""
    if isinstance(names, str):
        raise Invalid(code, "Tenants, and the roles of a group, are lists of names.")
    return names


def _jwks(config: JWTConfig, *, lenient: bool, clock: Callable[[], datetime]) -> Jwks | None:
    if config.jwks_uri is None:
        return None
    if config.secret_key is not None or config.public_key is not None or config.keys:
        raise Invalid("signing_key_invalid", "An issuer has a jwks_uri or keys that are configured here, not both.")
    if isinstance(config.algorithms, str):
        raise Invalid("algorithms_invalid", "Algorithms are a list.")
    return Jwks(config.jwks_uri, config.algorithms, development=lenient, clock=clock, timing=config.jwks_timing)


def _keys(config: JWTConfig, *, lenient: bool) -> tuple[KeyRecord, ...]:
    accepted = frozenset(config.algorithms)
    if isinstance(config.algorithms, str) or not accepted <= ALGORITHMS:
        raise Invalid("algorithms_invalid", f"Algorithms are a list out of {', '.join(sorted(ALGORITHMS))}.")
    if accepted and any(record.algorithm not in accepted for record in config.keys):
        raise Invalid("algorithms_invalid", "A key's algorithm is not among the accepted ones.")
    keys = list(config.keys)
    if config.secret_key is not None:
        algorithm = _only(HMAC_ALGORITHMS, accepted, "HS256")
        keys.append(KeyRecord(None, algorithm, config.secret_key, allow_short_secret=lenient))
    if config.public_key is not None:
        possible = algorithms_for(public_key(config.public_key))
        keys.append(KeyRecord(None, _only(possible, accepted, "RS256"), config.public_key))
    return tuple(keys)


def _only(possible: frozenset[str], accepted: frozenset[str], usual: str) -> str:
    """Returns the one algorithm that a key is bound to."""
    if not accepted:
        # `min` takes the only one: the algorithm of an EC key's curve.
        return usual if usual in possible else min(possible)
    match tuple(possible & accepted):
        case (algorithm,):
            return algorithm
        case _:
            raise Invalid(
                "algorithms_invalid", f"Accept exactly one of {', '.join(sorted(possible))}: a key has one algorithm."
            )
