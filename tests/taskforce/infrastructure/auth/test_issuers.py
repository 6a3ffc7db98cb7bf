"""Several issuers side by side: each judges its own tokens, for the tenants that it is bound to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from taskforce.core.domain.errors import Invalid, Unauthenticated, Unavailable
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from tests.taskforce.infrastructure.auth.forged_tokens import AUDIENCE, NOW, SECRET, b64, claims, forge, hs256
from tests.taskforce.infrastructure.auth.jwks_server import (
    OTHER_KEY,
    PATH,
    MovingClock,
    provider_for,
    publish,
    published,
    signed,
)
from tests.taskforce.infrastructure.net.http_server import Web

ACME, GLOBEX = "https://id.acme.example", "https://id.globex.example"
ACME_SECRET, GLOBEX_SECRET = "acme" * 8, "globex" * 6
GUID = "5b1c7a0e-93d4-4d5e-8a51-0d9f3c2e7b64"


def issuer(name: str = ACME, secret: str = ACME_SECRET, **config: Any) -> JWTIdentityProvider:
    settled = {"secret_key": secret, "issuer": name, "audience": AUDIENCE, **config}
    return JWTIdentityProvider(JWTConfig(**settled), development=False, clock=lambda: NOW)


def token(name: str = ACME, secret: str = ACME_SECRET, **changes: object) -> str:
    return forge(payload=claims(iss=name, **changes), sign=hs256(secret))


async def tenant_of(issuers: Issuers | JWTIdentityProvider, bearer: str) -> str:
    return (await issuers.authenticate(bearer)).tenant_id


async def refused(issuers: Issuers | JWTIdentityProvider, bearer: str | None) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await issuers.authenticate(bearer)
    return refusal.value.code


BOTH = Issuers([issuer(tenants=["acme-corp"]), issuer(GLOBEX, GLOBEX_SECRET, tenants=["globex"])])


# Which issuer


async def test_each_issuer_judges_its_own_tokens() -> None:
    assert BOTH.names == {ACME, GLOBEX}
    assert await tenant_of(BOTH, token()) == "acme-corp"
    assert await tenant_of(BOTH, token(GLOBEX, GLOBEX_SECRET, org_id="globex")) == "globex"


async def test_the_key_of_one_issuer_signs_nothing_in_the_name_of_another() -> None:
    assert await refused(BOTH, token(ACME, GLOBEX_SECRET)) == "token_invalid"
    assert await refused(BOTH, token(GLOBEX, ACME_SECRET, org_id="globex")) == "token_invalid"


@pytest.mark.parametrize(
    "name",
    [
        "https://id.evil.example",
        f"{ACME}/",
        ACME.upper(),
        f" {ACME}",
        f"{ACME}\u0000",
        "",
        None,
        1,
        [ACME],
        {"a": ACME},
        ...,
    ],
)
async def test_the_name_must_be_equal_to_the_letter(name: object) -> None:
    bearer = forge(payload=claims(iss=name), sign=hs256(ACME_SECRET))

    assert await refused(BOTH, bearer) == "token_invalid"
    assert await BOTH.validate_token(bearer) is None


async def test_refusals_tell_missing_expired_and_invalid_apart() -> None:
    assert await refused(BOTH, None) == "token_missing"
    assert await refused(BOTH, "") == "token_missing"
    assert await refused(BOTH, token(exp=1)) == "token_expired"
    assert await refused(BOTH, "a.b.c") == "token_invalid"
    assert await refused(BOTH, token(aud="another")) == "token_invalid"


async def test_a_believed_token_validates_to_a_user_with_rights() -> None:
    user = await BOTH.validate_token(token(roles=["viewer"]))

    assert user is not None
    assert (user.tenant_id, user.roles) == ("acme-corp", {"viewer"})
    assert user.permissions


@given(st.text() | st.binary().map(b64) | st.lists(st.text(), min_size=3, max_size=3).map(".".join))
async def test_no_text_breaks_the_choice(text: str) -> None:
    assert await BOTH.validate_token(text) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
async def test_no_header_and_no_issuer_breaks_the_choice(odd: object) -> None:
    assert await BOTH.validate_token(forge({"alg": "HS256", "kid": odd}, claims(iss=ACME), hs256("x" * 32))) is None
    assert await BOTH.validate_token(forge(payload=claims(iss=odd))) is None


def test_issuers_are_named_once_and_there_is_one() -> None:
    with pytest.raises(Invalid) as twice:
        Issuers([issuer(), issuer(secret=GLOBEX_SECRET)])
    with pytest.raises(Invalid) as none:
        Issuers([])

    assert (twice.value.code, none.value.code) == ("issuer_ambiguous", "issuer_missing")


async def test_an_issuer_that_does_not_answer_stops_its_own_users_only(web: Web, clock: MovingClock) -> None:
    issuers = Issuers([issuer(tenants=["acme-corp"]), provider_for(web.url(PATH), clock, tenants=["globex"])])

    with pytest.raises(Unavailable) as refusal:
        await issuers.authenticate(signed("k1", org_id="globex"))
    assert refusal.value.code == "issuer_unavailable"
    assert await tenant_of(issuers, token()) == "acme-corp"


async def test_only_the_issuer_that_a_token_names_is_asked_for_keys(web: Web, clock: MovingClock) -> None:
    one = provider_for(publish(web, published("k1")), clock, tenants=["acme-corp"])
    other = provider_for(web.url("/others"), clock, issuer=GLOBEX, tenants=["globex"])
    issuers = Issuers([one, other])

    assert await tenant_of(issuers, signed("k1")) == "acme-corp"
    assert await refused(issuers, signed("k1", OTHER_KEY)) == "token_invalid"
    assert [asked.path for asked in web.asked] == [PATH]


# Which tenant


async def test_an_issuer_speaks_for_the_tenants_that_it_is_bound_to() -> None:
    assert await refused(BOTH, token(GLOBEX, GLOBEX_SECRET, org_id="acme-corp")) == "token_invalid"
    assert await refused(BOTH, token(org_id="globex")) == "token_invalid"
    assert await refused(BOTH, token(org_id="ACME-CORP")) == "token_invalid"
    assert await refused(BOTH, token(org_id=["acme-corp"])) == "token_invalid"


async def test_an_issuer_that_is_not_bound_speaks_for_every_tenant() -> None:
    assert await tenant_of(issuer(), token(org_id="whoever")) == "whoever"


@pytest.mark.parametrize("claimed", [..., "another-tenant", 7, {"id": "acme"}])
async def test_a_fixed_tenant_asks_no_claim(claimed: object) -> None:
    assert await tenant_of(issuer(tenant="acme-corp"), token(org_id=claimed)) == "acme-corp"


async def test_ids_of_the_issuer_lead_to_tenants_and_others_lead_nowhere() -> None:
    azure = issuer(tenant_claim="tid", tenant_map={GUID: "acme-corp", "Acme Subsidiary Ltd.": "acme-sub"})

    assert await tenant_of(azure, token(tid=GUID)) == "acme-corp"
    assert await tenant_of(azure, token(tid="Acme Subsidiary Ltd.")) == "acme-sub"
    for other in ("acme-corp", GUID.upper(), "00000000-0000-0000-0000-000000000000", None, ..., [GUID], 5):
        assert await refused(azure, token(tid=other)) == "token_invalid"


def test_what_an_issuer_may_speak_for_is_known() -> None:
    assert issuer().tenants is None
    assert issuer(tenant="acme").tenants == frozenset({"acme"})
    assert issuer(tenants=["acme", "globex"]).tenants == frozenset({"acme", "globex"})
    assert issuer(tenant_map={"1": "acme", "2": "acme"}).tenants == frozenset({"acme"})


@pytest.mark.parametrize(
    "binding",
    [
        {"tenants": []},
        {"tenants": "acme-corp"},
        {"tenant_map": {}},
        {"tenant": "acme", "tenants": ["acme"]},
        {"tenant": "acme", "tenant_map": {"1": "acme"}},
        {"tenants": ["acme"], "tenant_map": {"1": "globex"}},
    ],
)
def test_a_binding_that_contradicts_itself_is_refused_at_the_start(binding: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        issuer(**binding)
    assert refusal.value.code == "tenant_binding_invalid"


@pytest.mark.parametrize(
    "binding", [{"tenant": ""}, {"tenant": "a b"}, {"tenants": ["a:b"]}, {"tenant_map": {"1": "/"}}]
)
def test_a_binding_to_what_could_be_no_tenant_is_refused_at_the_start(binding: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        issuer(**binding)
    assert refusal.value.code == "tenant_id_invalid"


@pytest.mark.parametrize(
    ("one", "other", "warned"),
    [
        ({"tenants": ["acme"]}, {"tenants": ["globex"]}, False),
        ({"tenant": "acme"}, {"tenant_map": {"1": "globex"}}, False),
        ({"tenants": ["acme", "globex"]}, {"tenant": "globex"}, True),
        ({"tenants": ["acme"]}, {}, True),
        ({}, {}, True),
    ],
)
def test_two_issuers_that_could_speak_of_the_same_user_are_named(
    one: dict[str, Any], other: dict[str, Any], warned: bool
) -> None:
    both = [issuer(**one), issuer(GLOBEX, GLOBEX_SECRET, **other)]
    with capture_logs() as logs:
        Issuers(both, development=True)

    assert [(line["event"], line["issuers"]) for line in logs] == [("auth.issuers.overlap", [ACME, GLOBEX])] * warned
    assert SECRET not in str(logs)
    # Elsewhere one of them could come as the other's people.
    if warned:
        with pytest.raises(Invalid) as refusal:
            Issuers(both)
        assert (refusal.value.code, refusal.value.details["issuers"]) == ("issuers_overlap", [ACME, GLOBEX])


@pytest.mark.parametrize(("mine", "theirs"), [(None, "okta|"), ("", "okta|"), ("a", "ab"), ("okta|", "azure|")])
async def test_no_issuer_names_the_people_of_another(mine: str | None, theirs: str) -> None:
    both = Issuers([issuer(user_prefix=mine), issuer(GLOBEX, GLOBEX_SECRET, user_prefix=theirs)])
    own = (await both.authenticate(token(sub="alice"))).user_id
    assert own == f"{mine or ''}alice"
    assert (await both.authenticate(token(GLOBEX, GLOBEX_SECRET, sub="alice"))).user_id == f"{theirs}alice"
    taken = f"{theirs}alice".removeprefix(mine or "")
    if theirs.startswith(mine or ""):
        assert await refused(both, token(sub=taken)) == "token_invalid"
        assert await both.validate_token(token(sub=taken)) is None
    assert (await both.authenticate(token(GLOBEX, GLOBEX_SECRET, sub=own))).user_id != own


async def test_two_issuers_may_say_that_they_mean_the_same_people() -> None:
    both = Issuers([issuer(user_prefix=""), issuer(GLOBEX, GLOBEX_SECRET, user_prefix="")])
    found = [await both.authenticate(one) for one in (token(), token(GLOBEX, GLOBEX_SECRET))]
    assert {one.user_id for one in found} == {"alice"}


async def test_a_prefix_counts_for_the_length_of_an_id_and_is_plain_text() -> None:
    one = issuer(user_prefix="okta|")
    assert len((await one.authenticate(token(sub="x" * 250))).user_id) == 255
    assert await refused(one, token(sub="x" * 251)) == "token_invalid"
    for odd in ("a\nb", " a", "x" * 65):
        with pytest.raises(Invalid) as refusal:
            issuer(user_prefix=odd)
        assert refusal.value.code == "user_prefix_invalid"
