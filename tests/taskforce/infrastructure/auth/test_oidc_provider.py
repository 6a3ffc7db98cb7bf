"""Tokens of a real OpenID provider: believed, and refused once its key is gone, they have expired or are for others."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from taskforce.core.domain.errors import Unauthenticated, Unavailable
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.config.auth import authentication_in, issuers_of
from tests.taskforce.infrastructure.auth.forged_tokens import EC_KEY, RSA_KEY
from tests.taskforce.infrastructure.auth.jwks_server import OTHER_KEY, MovingClock
from tests.taskforce.infrastructure.auth.oidc_server import CLIENT, OpenIdProvider, private_jwk, provider

API = "https://api.taskforce.example"
CLAIMS = {"org_id": "acme-corp", "realm_access": {"roles": ["operator", "custom:data_analyst"]}}


@pytest.fixture
def clock() -> MovingClock:
    """A real provider's tokens are of now."""
    return MovingClock(datetime.now(UTC))


@pytest_asyncio.fixture
async def idp() -> AsyncIterator[OpenIdProvider]:
    async with provider(private_jwk("key-1", RSA_KEY), CLAIMS) as running:
        yield running


async def issuers_for(idp: OpenIdProvider, clock: MovingClock, **keys: Any) -> Issuers:
    section = authentication_in(
        {
            "authentication": {
                "type": "jwt",
                "jwt": {
                    "issuer": idp.issuer,
                    "audience": API,
                    "algorithms": ["RS256", "ES256"],
                    "jwks_uri": await idp.discovered("jwks_uri"),
                    "roles_claim": "realm_access.roles",
                    "tenants": ["acme-corp"],
                    **keys,
                },
            }
        }
    )
    return issuers_of(section, development=True, clock=clock)


async def refused(issuers: Issuers, token: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await issuers.authenticate(token)
    return refusal.value.code


async def test_its_tokens_are_believed(idp: OpenIdProvider, clock: MovingClock) -> None:
    identity = await (await issuers_for(idp, clock)).authenticate(await idp.token(API))

    assert (identity.user_id, identity.tenant_id, identity.issuer) == (CLIENT, "acme-corp", idp.issuer)
    assert identity.roles == {"operator", "custom:data_analyst"}
    assert identity.expires_at - identity.issued_at == timedelta(seconds=600)


async def test_a_token_for_another_audience_is_refused(idp: OpenIdProvider, clock: MovingClock) -> None:
    assert await refused(await issuers_for(idp, clock), await idp.token("https://other.example")) == "token_invalid"


async def test_a_token_for_a_tenant_that_it_is_not_bound_to_is_refused(idp: OpenIdProvider, clock: MovingClock) -> None:
    assert await refused(await issuers_for(idp, clock, tenants=["globex"]), await idp.token(API)) == "token_invalid"


async def test_a_token_that_has_expired_is_refused(idp: OpenIdProvider, clock: MovingClock) -> None:
    issuers, token = await issuers_for(idp, clock), await idp.token(API)
    await issuers.authenticate(token)

    clock.pass_by(seconds=600 + 31)
    assert await refused(issuers, token) == "token_expired"


async def test_a_key_that_is_rotated_away_takes_its_tokens_along(clock: MovingClock) -> None:
    async with provider(private_jwk("key-1", RSA_KEY), CLAIMS) as before:
        issuers, old = await issuers_for(before, clock), await before.token(API)
        await issuers.authenticate(old)

    # It is away, and its tokens are good.
    assert (await issuers.authenticate(old)).user_id == CLIENT

    async with provider(private_jwk("key-2", OTHER_KEY), CLAIMS, port=before.port) as after:
        assert after.issuer == before.issuer
        clock.pass_by(seconds=31)
        assert (await issuers.authenticate(await after.token(API))).user_id == CLIENT
        assert await refused(issuers, old) == "token_invalid"


async def test_another_key_under_the_same_name_is_another_key(clock: MovingClock) -> None:
    async with provider(private_jwk("key-1", RSA_KEY), CLAIMS) as before:
        issuers, old = await issuers_for(before, clock), await before.token(API)
        await issuers.authenticate(old)

    async with provider(private_jwk("key-1", OTHER_KEY), CLAIMS, port=before.port) as after:
        new = await after.token(API)
        assert await refused(issuers, new) == "token_invalid"
        clock.pass_by(minutes=10)
        assert (await issuers.authenticate(new)).user_id == CLIENT
        assert await refused(issuers, old) == "token_invalid"


async def test_a_key_on_a_curve_does_as_well(clock: MovingClock) -> None:
    async with provider(private_jwk("key-1", EC_KEY), CLAIMS) as idp:
        assert await (await issuers_for(idp, clock)).validate_token(await idp.token(API)) is not None


async def test_a_provider_that_never_answered_is_not_the_callers_fault(clock: MovingClock) -> None:
    async with provider(private_jwk("key-1", RSA_KEY), CLAIMS) as idp:
        issuers, token = await issuers_for(idp, clock), await idp.token(API)

    with pytest.raises(Unavailable) as refusal:
        await issuers.authenticate(token)
    assert refusal.value.code == "issuer_unavailable"
