import json
from collections.abc import Callable
from pathlib import Path

from jose import jwt
from jose.constants import ALGORITHMS

from taskforce.infrastructure.auth.jwt_provider import JWTConfig, JWTIdentityProvider
from taskforce.infrastructure.config.settings import Settings
from tests.cli.conftest import SECRET, Done
from tests.cli.stub_gateway import Entry, StubGateway

Cli = Callable[..., Done]


async def test_the_token_is_one_that_the_gateways_settings_accept(taskforce: Cli) -> None:
    given = ["--tenant", "acme-corp", "--user", "bob", "--role", "operator", "--role", "admin", "--ttl", "60"]
    done = taskforce("token", *given, env={"JWT_SECRET": SECRET})
    assert done.code == 0, done.err
    settings = Settings.from_env()
    provider = JWTIdentityProvider(
        JWTConfig(secret_key=SECRET, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
    )
    identity = await provider.authenticate(done.out.strip())
    assert (identity.user_id, identity.tenant_id, sorted(identity.roles)) == ("bob", "acme-corp", ["admin", "operator"])


def test_issuer_and_audience_follow_the_environment(taskforce: Cli) -> None:
    named = {"JWT_SECRET": SECRET, "JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "us"}
    token = json.loads(taskforce("token", "--json", env=named).out)["token"]
    claims = jwt.decode(token, SECRET, ALGORITHMS.HS256, audience="us")
    assert claims["iss"] == "https://id.example"


def test_it_is_refused_outside_development(taskforce: Cli) -> None:
    done = taskforce("token", env={"JWT_SECRET": SECRET, "TASKFORCE_PROFILE": "enterprise"})
    assert (done.code, done.out) == (6, "")
    assert "development_only" in done.err


def test_without_a_secret_it_says_where_one_comes_from(taskforce: Cli) -> None:
    done = taskforce("token")
    assert done.code == 1
    assert "taskforce up" in done.err


def test_a_local_gateway_gets_a_token_from_the_stacks_secret(
    gateway: Callable[[list[Entry]], StubGateway], taskforce: Cli, environment: dict[str, str]
) -> None:
    stub = gateway([])
    home = Path(environment["TASKFORCE_HOME"])
    home.mkdir()
    (home / "dev-secret").write_text(SECRET)
    (home / "state.json").write_text(json.dumps({"url": environment.pop("TASKFORCE_URL"), "profile": "dev"}))
    del environment["TASKFORCE_TOKEN"]
    done = taskforce("runs", "--json")
    assert done.code == 0, done.err
    assert "alice of acme-corp" in done.err
    (header,) = stub.tokens
    assert header
    claims = jwt.get_unverified_claims(header.removeprefix("Bearer "))
    assert (claims["org_id"], claims["sub"], claims["roles"]) == ("acme-corp", "alice", ["admin", "operator"])


def test_another_machine_gets_no_token_of_ours(taskforce: Cli) -> None:
    done = taskforce("runs", "--url", "http://gateway.invalid", env={"JWT_SECRET": SECRET})
    assert done.code == 9
    assert "alice" not in done.err
