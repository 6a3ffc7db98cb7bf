"""Several token issuers side by side: each token is verified with the keys of the one issuer that it names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import structlog

from taskforce.core.domain.errors import Invalid, Unauthenticated
from taskforce.core.interfaces.identity import Identity, UserContext
from taskforce.infrastructure.auth.jwt_guard import unverified_origin
from taskforce.infrastructure.auth.jwt_provider import JWTIdentityProvider

_log = structlog.get_logger(__name__)


class Issuers:
    """Authenticates tokens of several issuers; used like a `JWTIdentityProvider`.

    A user is known by its tenant and its id, which begins with its issuer's `user_prefix`. Of two issuers that speak
    for the same tenant, one could name the other's people, unless they have different prefixes; both saying the same
    one says that they mean the same people.

    Args:
        providers: One for each issuer.
        development: Whether issuers that could name each other's people are tolerated, with a warning.

    Raises:
        Invalid: `issuer_missing` without issuers, `issuer_ambiguous` when two have the same `iss`, `issuers_overlap`
            when two could name each other's people.
    """

    def __init__(self, providers: Sequence[JWTIdentityProvider], *, development: bool = False) -> None:
        self._by_name = {provider.issuer: provider for provider in providers}
        if not providers:
            raise Invalid("issuer_missing", "Configure an issuer of tokens: authentication.jwt, or JWT_SECRET.")
        if len(self._by_name) != len(providers):
            raise Invalid("issuer_ambiguous", "Two issuers have the same iss. Give each of them once.")
        overlaps = list(_overlaps(providers))
        _judge(overlaps, development=development)
        self._foreign = _foreign(overlaps)

    @property
    def names(self) -> frozenset[str]:
        """Returns the `iss` of each issuer."""
        return frozenset(self._by_name)

    async def authenticate(self, token: str | None) -> Identity:
        """Verifies a token with the keys and rules of its issuer, and returns the identity that it names.

        Args:
            token: The token, without `Bearer`.

        Raises:
            Unauthenticated: `token_missing`, `token_expired` or `token_invalid`; the last also for an issuer that is
                not one of these, and for a tenant that the issuer does not speak for.
            Unavailable: `issuer_unavailable`: the issuer's keys cannot be had.
        """
        return self._own(await self._provider_for(token).authenticate(token))

    async def validate_token(self, token: str) -> UserContext | None:
        """Returns the bearer with the permissions of the claimed roles, or None when the token is not accepted.

        Raises:
            Unavailable: `issuer_unavailable`, as above.
        """
        try:
            provider = self._provider_for(token)
        except Unauthenticated:
            return None
        user = await provider.validate_token(token)
        return None if user is not None and self._is_foreign(provider.issuer, user.user_id) else user

    def _own(self, identity: Identity) -> Identity:
        if self._is_foreign(identity.issuer, identity.user_id):
            raise Unauthenticated("token_invalid", "The token names somebody of another issuer.")
        return identity

    def _is_foreign(self, issuer: str, user_id: str) -> bool:
        # `startswith` of an empty tuple is False, as for most issuers, which have no foreign prefixes.
        return user_id.startswith(self._foreign.get(issuer, ()))

    def _provider_for(self, token: str | None) -> JWTIdentityProvider:
        # No issuer has an empty name: `TokenRules` requires one.
        provider = self._by_name.get(unverified_origin(token).issuer or "")
        if provider is None:
            raise Unauthenticated("token_invalid", "The token is from an issuer that is not known here.")
        return provider


_Pair = tuple[JWTIdentityProvider, JWTIdentityProvider]


def _overlaps(providers: Iterable[JWTIdentityProvider]) -> Iterator[_Pair]:
    """Returns the pairs of issuers that may speak for one tenant."""
    for one, other in combinations(providers, 2):
        if one.tenants is None or other.tenants is None or one.tenants & other.tenants:
            yield one, other


def _judge(overlaps: Iterable[_Pair], *, development: bool) -> None:
    for pair in overlaps:
        # One prefix is enough: `_foreign` keeps the other issuer from ids that begin with it.
        if any(one.user_prefix is not None for one in pair):
            continue
        names = sorted(one.issuer for one in pair)
        if not development:
            text = f"{' and '.join(names)} may both speak for one tenant, where the same sub would be the same user. "
            advice = "Bind each to tenants of its own, or give one a user_prefix; or both the same, to mean the same."
            raise Invalid("issuers_overlap", text + advice, details={"issuers": names})
        _log.warning("auth.issuers.overlap", issuers=names, advice="The same sub is the same user: see user_prefix.")


def _foreign(overlaps: Iterable[_Pair]) -> Mapping[str, tuple[str, ...]]:
    """Returns, by issuer, the id prefixes that belong to another issuer of the same tenant."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in overlaps:
        # With the prefixes "" and "okta|" the first issuer could sign a token for `sub` "okta|anna".
        shorter, longer = sorted(pair, key=lambda one: len(one.user_prefix or ""))
        own, other = shorter.user_prefix or "", longer.user_prefix or ""
        if own != other and other.startswith(own):
            found[shorter.issuer] = (*found.get(shorter.issuer, ()), other)
    return found
