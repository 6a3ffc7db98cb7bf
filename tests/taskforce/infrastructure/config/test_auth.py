"""The profile's authentication, as the guide prints it and with several issuers."""

import json
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.auth.issuers import Issuers
from taskforce.infrastructure.auth.jwt_keys import warn_short_secret
from taskforce.infrastructure.auth.jwt_provider import JWTConfig
from taskforce.infrastructure.config.auth import AuthenticationSection, authentication_in, issuers_of
from tests.taskforce.infrastructure.auth.forged_tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    RSA_KEY,
    SECRET,
    claims,
    forge,
    pem,
    rs256,
)
from tests.taskforce.infrastructure.auth.jwks_server import MovingClock, publish, published, signed
from tests.taskforce.infrastructure.net.http_server import Web

# As the guide prints them

GENERIC = """
enterprise:
  multi_tenant: true

  # Authentication
  authentication:
    type: jwt
    jwt:
      issuer: "https://auth.yourcompany.com"
      audience: "taskforce-api"
      algorithms: ["RS256"]
      jwks_uri: "https://auth.yourcompany.com/.well-known/jwks.json"
      tenant_claim: "org_id"
      roles_claim: "roles"

  # RBAC
  rbac:
    enabled: true
    default_role: viewer
    custom_roles:
      - name: data_analyst
        permissions:
          - agent:read
"""
AZURE = """
authentication:
  type: jwt
  jwt:
    issuer: "https://login.microsoftonline.com/{tenant-id}/v2.0"
    audience: "api://{application-id}"
    algorithms: ["RS256"]
    jwks_uri: "https://login.microsoftonline.com/{tenant-id}/discovery/v2.0/keys"
    tenant_claim: "tid"
    roles_claim: "roles"
"""
OKTA = """
authentication:
  type: jwt
  jwt:
    issuer: "https://{your-domain}.okta.com"
    audience: "api://taskforce"
    algorithms: ["RS256"]
    jwks_uri: "https://{your-domain}.okta.com/oauth2/v1/keys"
    tenant_claim: "org_id"
    roles_claim: "groups"
"""


def section_in(text: str) -> AuthenticationSection:
    profile = yaml.safe_load(text)
    section = authentication_in(profile.get("enterprise", {}), profile.get("authentication"), file="enterprise.yaml")
    assert section is not None
    return section


def issuer(**keys: object) -> dict[str, object]:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "secret_key": SECRET, **keys}
    return {key: value for key, value in given.items() if value is not ...}


def section(*issuers: dict[str, object]) -> AuthenticationSection:
    found = authentication_in({"authentication": {"issuers": list(issuers)}})
    assert found is not None
    return found


def build(text: str, **filled: str) -> Issuers:
    for placeholder, value in filled.items():
        text = text.replace("{" + placeholder.replace("_", "-") + "}", value)
    return issuers_of(section_in(text), development=False)


def complaint(raw: object) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        authentication_in({"authentication": raw}, file="enterprise.yaml")
    assert refusal.value.code == "profile_invalid"
    return refusal.value


@pytest.mark.parametrize(
    ("text", "tenant_claim", "roles_claim"),
    [(GENERIC, "org_id", "roles"), (AZURE, "tid", "roles"), (OKTA, "org_id", "groups")],
    ids=["generic", "azure", "okta"],
)
def test_what_the_guide_prints_is_read(text: str, tenant_claim: str, roles_claim: str) -> None:
    jwt = section_in(text).jwt

    assert jwt is not None
    assert (jwt.tenant_claim, jwt.roles_claim, jwt.algorithms) == (tenant_claim, roles_claim, ("RS256",))
    assert not section_in(text).model_extra


def test_what_the_guide_prints_works_once_it_is_filled_in() -> None:
    assert build(GENERIC).names == {"https://auth.yourcompany.com"}
    assert build(AZURE, tenant_id="11-22", application_id="33-44").names == {
        "https://login.microsoftonline.com/11-22/v2.0"
    }
    assert build(OKTA, your_domain="acme").names == {"https://acme.okta.com"}


@pytest.mark.parametrize(
    ("text", "filled", "placeholder", "advice"),
    [
        (AZURE, {}, "{tenant-id}", "directory (tenant) ID"),
        (AZURE, {"tenant_id": "11-22"}, "{application-id}", "application (client) ID"),
        (OKTA, {}, "{your-domain}", "Okta organisation"),
        (OKTA.replace("{your-domain}", "{something}"), {}, "{something}", "identity provider"),
        (OKTA.replace("{your-domain}", "<acme>"), {}, "<acme>", "identity provider"),
    ],
)
def test_an_example_that_was_not_filled_in_is_refused_with_advice(
    text: str, filled: dict[str, str], placeholder: str, advice: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        build(text, **filled)

    assert refusal.value.code == "placeholder_left"
    assert refusal.value.details["placeholder"] == placeholder
    assert advice in refusal.value.message
    assert str(refusal.value.details["key"]).startswith("authentication.jwt.")


def test_a_placeholder_in_the_place_of_the_keys_is_found_too() -> None:
    with pytest.raises(Invalid) as refusal:
        issuers_of(section(issuer(secret_key=..., jwks_uri="https://{host}/keys")), development=False)

    assert refusal.value.details == {"key": "authentication.issuers.0.jwks_uri", "placeholder": "{host}"}


# Several issuers


async def test_a_list_of_issuers_with_all_that_can_be_said(web: Web, clock: MovingClock) -> None:
    azure = issuer(
        issuer="https://login.example/v2.0",
        secret_key=...,
        jwks_uri=publish(web, published("k1")),
        algorithms=["RS256"],
        tenant_claim="tid",
        tenant_map={"guid-1": "acme-corp"},
        roles_claim="groups",
        group_roles={"Operators": ["operator"]},
        username_claim="upn",
        email_claim="mail",
        leeway_seconds=60,
        jwks_max_age_seconds=120,
        jwks_max_stale_seconds=3600,
    )
    partner = issuer(issuer="https://id.globex.example", secret_key=..., public_key=pem(RSA_KEY), tenant="globex")
    issuers = issuers_of(section(azure, partner), development=True, clock=clock)

    alice = await issuers.authenticate(
        signed(
            "k1", iss="https://login.example/v2.0", tid="guid-1", groups=["Operators"], upn="al", mail="a@acme.example"
        )
    )
    assert (alice.tenant_id, *alice.roles) == ("acme-corp", "operator")
    assert (alice.username, alice.email) == ("al", "a@acme.example")

    bearer = forge({"alg": "RS256"}, claims(iss="https://id.globex.example", org_id=..., roles=["viewer"]), rs256)
    bob = await issuers.authenticate(bearer)
    assert (bob.tenant_id, *bob.roles) == ("globex", "viewer")

    clock.pass_by(seconds=120)
    await issuers.authenticate(signed("k1", iss="https://login.example/v2.0", tid="guid-1"))
    assert len(web.asked) == 2


def test_one_and_several_can_stand_together_but_none_twice() -> None:
    both = authentication_in(
        {}, {"type": "jwt", "jwt": issuer(), "issuers": [issuer(issuer="https://b.example", user_prefix="b|")]}
    )
    assert issuers_of(both, development=False).names == {ISSUER, "https://b.example"}

    with pytest.raises(Invalid) as refusal:
        issuers_of(section(issuer(), issuer()), development=False)
    assert refusal.value.code == "issuer_ambiguous"


def test_without_issuers_there_is_no_gateway() -> None:
    for nothing in (None, section()):
        with pytest.raises(Invalid) as refusal:
            issuers_of(nothing, development=True)
        assert refusal.value.code == "issuer_missing"


# What the environment says


async def test_the_issuer_of_the_environment_stands_beside_those_of_the_profile() -> None:
    environment = JWTConfig(secret_key=SECRET, issuer="https://env.example", audience=AUDIENCE)
    said = section(issuer(user_prefix="okta|"))
    both = issuers_of(said, development=False, environment=environment, clock=lambda: NOW)

    assert both.names == {ISSUER, "https://env.example"}
    assert (await both.authenticate(forge(payload=claims(iss="https://env.example")))).user_id == "alice"
    assert (await both.authenticate(forge())).user_id == "okta|alice"
    with pytest.raises(Invalid) as refusal:
        issuers_of(section(issuer()), development=False, environment=environment)
    assert refusal.value.code == "issuers_overlap"
    assert issuers_of(None, development=False, environment=environment).names == {"https://env.example"}


async def test_it_goes_before_one_of_the_same_name_and_says_so() -> None:
    other_secret = "another secret, as long as it has to be"
    environment = JWTConfig(secret_key=SECRET, issuer=ISSUER, audience=AUDIENCE)
    with capture_logs() as logs:
        issuers = issuers_of(
            section(issuer(secret_key=other_secret)), development=False, environment=environment, clock=lambda: NOW
        )

    assert await issuers.validate_token(forge()) is not None
    assert [line["event"] for line in logs] == ["auth.issuer.overridden"]
    assert SECRET not in str(logs)


def test_a_short_secret_is_taken_in_development_with_a_loud_warning_and_refused_elsewhere() -> None:
    short = section(issuer(secret_key="your-secret-key"), issuer(issuer="https://b.example", secret_key="your-secret"))
    warn_short_secret.cache_clear()
    with capture_logs() as logs:
        issuers_of(short, development=True)
        issuers_of(short, development=True)

    warnings = [line for line in logs if line["event"] == "auth.hmac_secret.short"]
    assert [line["log_level"] for line in warnings] == ["warning"]
    assert "your-secret" not in json.dumps(logs)
    with pytest.raises(Invalid) as refusal:
        issuers_of(short, development=False)
    assert refusal.value.code == "signing_key_invalid"
    assert "your-secret" not in refusal.value.message


def test_http_on_this_machine_is_for_development() -> None:
    local = section(issuer(secret_key=..., jwks_uri="http://127.0.0.1:9/keys"))

    issuers_of(local, development=True)
    with pytest.raises(Invalid) as refusal:
        issuers_of(local, development=False)
    assert refusal.value.code == "jwks_uri_invalid"


# What is refused


@pytest.mark.parametrize("key", ["tenant", "tenants", "tenant_map", "group_roles", "algorithms"])
def test_a_binding_without_a_value_is_not_taken_as_none(key: str) -> None:
    refusal = complaint({"jwt": issuer(**{key: None})})

    assert key in refusal.message
    assert "enterprise.yaml: authentication.jwt" in refusal.message


@pytest.mark.parametrize(
    "keys",
    [
        {"issuer": ...},
        {"issuer": None},
        {"issuer": ""},
        {"audience": ...},
        {"tennants": ["acme"]},
        {"tenants": []},
        {"tenants": "acme"},
        {"tenant_map": {}},
        {"tenant_map": {"a": ["b"]}},
        {"group_roles": {"Staff": "viewer"}},
        {"algorithms": "RS256"},
        {"leeway_seconds": 301},
        {"leeway_seconds": -1},
        {"jwks_max_age_seconds": 1},
        {"jwks_max_stale_seconds": float("inf")},
        {"roles_claim": ""},
    ],
)
def test_what_is_not_understood_is_refused(keys: dict[str, Any]) -> None:
    assert SECRET not in complaint({"jwt": issuer(**keys)}).message
    complaint({"issuers": [issuer(**keys)]})


@pytest.mark.parametrize("raw", ["jwt", 5, [], {"type": "saml"}, {"jwt": "x"}, {"issuers": {"a": 1}}])
def test_a_section_of_another_shape_is_refused(raw: object) -> None:
    complaint(raw)


def test_it_stands_in_one_place() -> None:
    assert authentication_in({}) is None
    with pytest.raises(Invalid):
        authentication_in({"authentication": {"jwt": issuer()}}, {"jwt": issuer()})


def test_secrets_are_not_shown() -> None:
    shown = section(issuer())

    assert SECRET not in repr(shown)
    assert SECRET not in shown.model_dump_json()
