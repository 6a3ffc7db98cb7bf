"""Several issuers side by side: each token is judged by the one issuer that it names, and by no other's keys."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import structlog

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.core.interfaces.identity import Identity, UserContext
from taskforce.infrastructure.auth.jwt_guard import glance
from taskforce.infrastructure.auth.jwt_provider import JWTIdentityProvider

_log = structlog.get_logger(__name__)


class Issuers:
    """Says who the bearer of a token is, whichever issuer it is from; used like a `JWTIdentityProvider`.

    A user is known by its tenant and `sub`. Issuers that speak for the same tenant must therefore not give the same
    `sub` to different people; two that could are named by a warning, once, when they are put together.

    Args:
        providers: One for each issuer.

    Raises:
        Invalid: `issuer_missing` without issuers, `issuer_ambiguous` when two have the same `iss`.
    """

    def __init__(self, providers: Sequence[JWTIdentityProvider]) -> None:
        self._by_name = {provider.issuer: provider for provider in providers}
        if not providers:
            raise Invalid("issuer_missing", "Configure an issuer of tokens: authentication.jwt, or JWT_SECRET.")
        if len(self._by_name) != len(providers):
            raise Invalid("issuer_ambiguous", "Two issuers have the same iss. Give each of them once.")
        _warn_of_overlaps(providers)

    @property
    def names(self) -> frozenset[str]:
        """The `iss` of each issuer."""
        return frozenset(self._by_name)

    async def authenticate(self, token: str | None) -> Identity:
        """Verifies a token with its issuer's keys and rules, and reads whom it speaks of.

        Args:
            token: The token, without `Bearer`.

        Raises:
            Unauthenticated: `token_missing`, `token_expired` or `token_invalid`; the last also for an issuer that is
                not one of these, and for a tenant that the issuer does not speak for.
            Unavailable: `issuer_unavailable`: the issuer's keys cannot be had.
        """
        return await self._provider_for(token).authenticate(token)

    async def validate_token(self, token: str) -> UserContext | None:
        """Returns the bearer with the rights that the claimed roles give, or None when the token is not believed.

        Raises:
            Unavailable: `issuer_unavailable`, as above.
        """
        try:
            provider = self._provider_for(token)
        except Unauthenticated:
            return None
        return await provider.validate_token(token)

    def _provider_for(self, token: str | None) -> JWTIdentityProvider:
        provider = self._by_name.get(glance(token).issuer or "")
        if provider is None:
            raise Unauthenticated("token_invalid", "The token is from an issuer that is not known here.")
        return provider


def _warn_of_overlaps(providers: Iterable[JWTIdentityProvider]) -> None:
    for one, other in combinations(providers, 2):
        if one.tenants is None or other.tenants is None or one.tenants & other.tenants:
            _log.warning(
                "auth.issuers.overlap",
                issuers=sorted((one.issuer, other.issuer)),
                advice="Both may speak for one tenant: the same sub is the same user. Bind each to tenants of its own.",
            )
