"""Profile section of token issuers: `enterprise.authentication`, or `authentication` at the top.

One issuer is configured in `jwt`, as the guide prints it (3.2, 10.1); several in the list `issuers`, with the same
keys:

    authentication:
      type: jwt
      issuers:
        - issuer: https://login.microsoftonline.com/5b1c.../v2.0
          audience: api://7f3e...
          algorithms: [RS256]
          jwks_uri: https://login.microsoftonline.com/5b1c.../discovery/v2.0/keys
          tenant_claim: tid
          tenant_map: {5b1c...: acme-corp}
          group_roles: {Agent Operators: [operator], Auditors: [auditor, "custom:reviewer"]}
        - issuer: https://id.globex.example
          audience: taskforce-api
          public_key: ${GLOBEX_PUBLIC_KEY}
          tenant: globex

A null at a key that binds an issuer (a variable that is not set) is refused: absent would mean that it is not bound.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import structlog
from pydantic import ConfigDict, Field, SecretStr, ValidationError, model_validator

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.principals import PLATFORM_TENANT
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwks import LONGEST_MAX_AGE, LONGEST_STALENESS, SHORTEST_MAX_AGE, JwksTiming
from taskforce.infrastructure.auth.jwt_claims import LONGEST_PREFIX
from taskforce.infrastructure.auth.jwt_guard import LONGEST_LEEWAY_SECONDS, AudienceClaim
from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from taskforce.infrastructure.config.sections import Name, Section

_PLACEHOLDER = re.compile(r"\{[^{}]*\}|<[^<>]*>")
_BINDING = (
    "tenant",
    "tenants",
    "tenant_map",
    "user_prefix",
    "group_roles",
    "algorithms",
    "audience_claim",
    "token_use",
)
_WHAT_TO_PUT = {
    "tenant-id": "the directory (tenant) ID of your Azure AD, a GUID such as 11111111-2222-3333-4444-555555555555",
    "application-id": "the application (client) ID of your app registration in Azure AD, a GUID",
    "your-domain": "the name of your Okta organisation: `acme` when you sign in at https://acme.okta.com",
}
_Url = Annotated[str, Field(min_length=1, max_length=2_000)]
_Kind = TypeVar("_Kind", bound=Section)
_log = structlog.get_logger(__name__)


class JwtSection(Section):
    """Configures one issuer. Unlike elsewhere in a profile, an unknown key is an error: a typo could admit people.

    Attributes:
        issuer: What `iss` must equal exactly.
        audience: What `aud` must equal or contain.
        audience_claim: The claim of the audience: `aud`, or `client_id` for access tokens of AWS Cognito.
        token_use: What `token_use` must equal, for example `access`; not looked at unless said.
        algorithms: The algorithms that are accepted.
        jwks_uri: Where the issuer publishes its keys; or one of the next two.
        public_key: Its public key in PEM.
        secret_key: The secret shared with it, for HS256.
        leeway_seconds: Tolerated difference of clocks.
        tenant_claim: The claim of the tenant's id: a name, or a path such as `organization.id`.
        roles_claim: The claim of the roles or groups.
        username_claim: The claim of the name for people.
        email_claim: The claim of the mail address.
        tenant: The tenant of all its tokens, when they name none.
        tenants: The tenants that it may speak for; every one but the platform's if left out.
        platform: Whether an issuer without `tenant`, `tenants` and `tenant_map` speaks for the platform's tenant too.
        tenant_map: The tenant by the value of `tenant_claim`.
        user_prefix: The prefix of its people's ids, where another issuer speaks for the same tenant.
        group_roles: Roles by the name of a group; when given, other groups give nothing.
        jwks_max_age_seconds: Seconds for which its keys are current when it does not say.
        jwks_max_stale_seconds: Further seconds for which they are used while it does not answer.
    """

    model_config = ConfigDict(extra="forbid")

    issuer: _Url
    audience: _Url
    audience_claim: AudienceClaim = "aud"
    token_use: Name | None = None
    algorithms: tuple[Name, ...] = ()
    jwks_uri: _Url | None = None
    public_key: Annotated[str, Field(max_length=20_000)] | None = None
    secret_key: SecretStr | None = None
    leeway_seconds: Annotated[float, Field(ge=0, le=LONGEST_LEEWAY_SECONDS, allow_inf_nan=False)] = 30
    tenant_claim: Name = "org_id"
    roles_claim: Name = "roles"
    username_claim: Name = "preferred_username"
    email_claim: Name = "email"
    tenant: Name | None = None
    tenants: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    tenant_map: Annotated[Mapping[str, str], Field(min_length=1)] | None = None
    platform: bool = False
    user_prefix: Annotated[str, Field(max_length=LONGEST_PREFIX)] | None = None
    group_roles: Mapping[str, tuple[Name, ...]] | None = None
    jwks_max_age_seconds: Annotated[float, Field(ge=SHORTEST_MAX_AGE, le=LONGEST_MAX_AGE)] = 600
    jwks_max_stale_seconds: Annotated[float, Field(ge=0, le=LONGEST_STALENESS)] = 86_400

    @model_validator(mode="before")
    @classmethod
    def _bindings_are_said(cls, data: object) -> object:
        """Refuses a null, which would mean the default: no binding at all."""
        if isinstance(data, Mapping) and (empty := [key for key in _BINDING if key in data and data[key] is None]):
            raise ValueError(f"{', '.join(empty)} stands there without a value; give one, or leave the key out")
        return data

    def config(self) -> JWTConfig:
        """Returns the issuer as the provider takes it."""
        return JWTConfig(
            **self.model_dump(exclude={"secret_key", "jwks_max_age_seconds", "jwks_max_stale_seconds"}),
            secret_key=None if self.secret_key is None else self.secret_key.get_secret_value(),
            jwks_timing=JwksTiming(max_age=self.jwks_max_age_seconds, max_stale=self.jwks_max_stale_seconds),
        )


class AuthenticationSection(Section):
    """Configures whose tokens are accepted.

    Attributes:
        type: Only `jwt` is supported.
        jwt: One issuer.
        issuers: Several, or further ones.
    """

    type: Annotated[str, Field(pattern=r"^jwt$")] = "jwt"
    jwt: JwtSection | None = None
    issuers: tuple[JwtSection, ...] = ()

    def each(self) -> Iterator[tuple[str, JwtSection]]:
        """Returns all issuers, each with its key in the profile."""
        if self.jwt is not None:
            yield "authentication.jwt", self.jwt
        for at, issuer in enumerate(self.issuers):
            yield f"authentication.issuers.{at}", issuer


def authentication_in(
    enterprise: Mapping[str, object], top: object = None, *, file: str = "profile"
) -> AuthenticationSection | None:
    """Parses the section, from whichever of its two places has it.

    Args:
        enterprise: The profile's `enterprise`.
        top: The profile's `authentication` at the top, if it has one.
        file: The profile's file, for messages.

    Returns:
        The section, or None when there is none.

    Raises:
        Invalid: `profile_invalid`: it stands in both places, or is not what it should be. No value is repeated.
    """
    inner = enterprise.get("authentication")
    if inner is not None and top is not None:
        raise Invalid("profile_invalid", f"{file}: authentication and enterprise.authentication: keep one of them.")
    if inner is None and top is None:
        return None
    return _read(AuthenticationSection, top if inner is None else inner, "authentication", file)


def issuers_of(
    section: AuthenticationSection | None,
    *,
    development: bool,
    environment: JWTConfig | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    platform_tenant: str = PLATFORM_TENANT,
) -> Issuers:
    """Builds the issuers of a deployment. Nothing is fetched yet.

    Args:
        section: The profile's section.
        development: Whether short secrets, missing names, http on this machine and claims of the platform's tenant are
            tolerated.
        environment: The issuer of `JWT_SECRET` or `JWT_PUBLIC_KEY`. It goes before one of the same name in the profile.
        clock: Returns the time, UTC.
        platform_tenant: The tenant whose people run the platform.

    Raises:
        Invalid: `placeholder_left`: an example was copied and not filled in; as `Issuers`, and all that
            `JWTIdentityProvider` raises.
    """
    configs = [] if environment is None else [environment]

    def provider(config: JWTConfig) -> JWTIdentityProvider:
        return JWTIdentityProvider(config, development=development, clock=clock, platform_tenant=platform_tenant)

    own = [provider(config) for config in configs]
    overriding = frozenset(provider.issuer for provider in own)
    for key, issuer in () if section is None else section.each():
        if issuer.issuer in overriding:
            _log.warning("auth.issuer.overridden", issuer=issuer.issuer, by="the environment")
            continue
        _refuse_placeholders(key, issuer)
        own.append(provider(issuer.config()))
    return Issuers(own, development=development)


def _refuse_placeholders(key: str, issuer: JwtSection) -> None:
    for name in ("issuer", "jwks_uri", "audience"):
        if found := _PLACEHOLDER.search(getattr(issuer, name) or ""):
            placeholder = found.group()
            what = _WHAT_TO_PUT.get(placeholder[1:-1], "the value that your identity provider shows for it")
            raise Invalid(
                "placeholder_left",
                f"{key}.{name} still has the placeholder {placeholder}. Put there {what}.",
                details={"key": f"{key}.{name}", "placeholder": placeholder},
            )


def _read(kind: type[_Kind], raw: object, key: str, file: str) -> _Kind:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        problems = [f"{file}: {'.'.join((key, *map(str, one['loc'])))}: {one['msg']}." for one in details]
        raise Invalid("profile_invalid", " ".join(problems), details={"problems": problems}) from None
