"""No secret leaves in an error text."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskforce.core.domain.redaction import redact, redact_document
from tests.fixtures.costs import growth

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("header was 'Bearer abc.def-ghi_jkl'", "abc.def-ghi_jkl"),
        ("sent Basic dXNlcjpwYXNzMQ==", "dXNlcjpwYXNzMQ=="),
        ("Incorrect API key provided: sk-proj-Abc123_def456.", "Abc123_def456"),
        ("key tf_0123456789AbcDefGhiJklMnoPqrStuVwxYz0123456 was revoked", "0123456789AbcDef"),
        (f"token {JWT} has expired", "c2lnbmF0dXJl"),
        ("GET https://host/x?api_key=hunter2&y=1 failed", "hunter2"),
        ("api-key: 'hunter two'", "hunter two"),
        ('{"password": "hunter2"}', "hunter2"),
        ("AZURE_OPENAI_API_KEY=0a1b2c3d", "0a1b2c3d"),
        ("client_secret = s3cr3t", "s3cr3t"),
        ("postgresql+asyncpg://app:p@ss@db:5432/x", "p@ss"),
        ("https://token@host/x", "token@"),
        ("AKIAIOSFODNN7EXAMPLE is not allowed", "IOSFODNN7"),
        ("ghp_abcdefghijklmnopqrst", "abcdefghijklmnop"),
        ("xoxb-123456789012-abcdef", "123456789012"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- tail", "MIIE"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "MIIE"),
        ("https://blob/x?sv=1&sig=abc%2Fdef", "abc%2Fdef"),
        ('{"sig": "abc/def"}', "abc/def"),
        ("hmac_sig = abcdef", "abcdef"),
        ("accessToken: abcdef", "abcdef"),
        ("session-token:abc:def", "abc:def"),
        ("sk-0123456789abcdef0123456789abcdef", "0123456789abcdef"),
        ("sk-or-v1-0123456789abcdef0123456789abcdef", "0123456789abcdef"),
        ("sk-ant-api03-Ab1_cdef-ghiJkl", "cdef-ghiJkl"),
        ("sk_live_51HqJ8aLkdIwHu7ixUEgbFdY", "51HqJ8aLkdIwHu7ixUEgbFdY"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqr"),
        ("hf_AbCdEfGhIjKlMnOpQrStUvWxYz", "AbCdEfGhIjKl"),
        ("npm_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijkl"),
        ("pypi-AgEIcHlwaS5vcmcCJDU3", "IcHlwaS5vcmc"),
        ("AIzaSyA-0123456789abcdefghijklmnopqrstu", "0123456789abcdef"),
        ("github_pat_11ABCDEFG0123456789_abcdef", "11ABCDEFG"),
        ("glpat-abcdefghij_0123456789", "abcdefghij"),
        ("sk-lf-0190aaaa-0000-7000-8000-000000000001", "0190aaaa"),
        ("cookie:session-id=deadbeef", "deadbeef"),
        ("my-cookie:session-id=deadbeef", "deadbeef"),
        ("api_key:session-abcSECRET", "abcSECRET"),
        ("X-Auth-Token:session-abcSECRET", "abcSECRET"),
        ("secret:deletion-hunter2", "hunter2"),
        ("acme-secret:deletion-hunter2", "hunter2"),
        (f"auth_token:1:{'0a' * 32}", "0a0a"),
        (f"acme-token:1:{'0a' * 32}ff", "0a0a"),
        (r"said {\"password\":\"hunter2\"}", "hunter2"),
        (r"said {\"user\": 1, \"api_key\": \"hunter two, three\"}", "three"),
        (r"{\\\"password\\\": \\\"hunter2\\\"}", "hunter2"),
        (r"{\"password\":\"hunt\\\"er2\"}", "er2"),
        (r"{\"password\":\"hunter2", "hunter2"),
        (r"{\"pin_token\": 4711}", "4711"),
        (r"{\"sig\": \"abc/def\"}", "abc/def"),
    ],
)
def test_things_shaped_like_secrets_are_removed(text: str, secret: str) -> None:
    cleaned = redact(text)
    assert secret not in cleaned
    assert "***" in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: max_tokens=400 is too large",
        "Rate limit of 20000 tokens: retry in 3 s",
        "basic understanding of the bearer is missing",
        "https://example.com/a@b?x=1",
        "The path task-force/sk is unknown",
        "",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


WORDS = st.sampled_from(
    [
        *("acme", "north", "customers", "production", "release", "design", "monkey", "turnkey", "brexsig", "ghost"),
        *("sig", "key", "token", "secret", "password", "cookie", "pwd", "signature", "credentials", "api-key"),
        *("access_token", "sk", "pk", "rk", "tf", "hf", "npm", "pypi", "gsk", "whsec", "basic", "bearer", "2024", "v1"),
    ]
)
SLUGS = st.lists(WORDS, min_size=1, max_size=5).flatmap(
    lambda words: st.sampled_from("-_.").map(lambda joint: joint.join(words)[:64])
)
TENANTS = st.one_of(SLUGS, st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True))
SECRETS_NAMES = ("key", "token", "secret", "password", "cookie", "pwd", "signature", "credentials")
# A tenant whose name is nothing but a secret's is one of whom no more than ids with a UUID stay.
NAMED = st.one_of(
    TENANTS.filter(lambda name: not name.lower().rstrip("s").endswith(SECRETS_NAMES)),
    TENANTS.map(lambda name: f"acme-{name}"[:64]),
    TENANTS.map(lambda name: f"north.{name}"[:64]),
)
UUIDS = st.uuids().map(str)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
IDS = st.one_of(
    TENANTS,
    UUIDS,
    HASHES,
    st.builds("{}:{}:{}".format, TENANTS, st.sampled_from(["run", "approval", "delivery"]), UUIDS),
    NAMED.map("{}:deletion".format),
    st.builds("{}:session-{}".format, NAMED, SLUGS),
    st.builds("{}:{}:{}".format, NAMED, st.integers(0, 10**18 - 1), HASHES),
)


@given(IDS)
@example("acme-sig:run:0190aaaa-0000-7000-8000-000000000001")
@example("secret:approval:0190aaaa-0000-7000-8000-000000000001")
@example("acme-token:deletion")
@example("acme-token:session-0190aaaa-0000-7000-8000-000000000001")
@example("north.token:session-customers")
@example("sk-customers-production")
@example("tf_customers_production")
@example("npm-registry-production")
def test_ids_stay(text: str) -> None:
    for said in (
        text,
        f"{text} is closed",
        f"tenant {text}, again",
        f'{{"tenant_id": "{text}"}}',
        f"workflow_id={text}",
    ):
        assert redact(said) == said
    assert redact_document({"tenant_id": text, "seen": [text]}) == {"tenant_id": text, "seen": [text]}


def test_of_json_within_json_the_rest_stays() -> None:
    text = r'body: "{\"password\": \"hunter2\", \"user\": \"alice\"}" was refused'
    assert redact(text) == r'body: "{\"password\": ***, \"user\": \"alice\"}" was refused'


@pytest.mark.parametrize("name", ["brexsig", "acme-sig", "design", "monkey", "max_tokens", "promptTokens"])
def test_what_stands_under_an_ordinary_name_stays(name: str) -> None:
    assert redact_document({name: 400}) == {name: 400}


@pytest.mark.parametrize("name", ["sig", "hmac_sig", "token", "tokens", "client_secret", "apiKey", "Authorization"])
def test_what_stands_under_the_name_of_a_secret_goes(name: str) -> None:
    assert redact_document({name: ["hunter2"]}) == {name: "***"}
    assert redact_document({"password": 4711}) == {"password": "***"}


def test_known_values_are_removed_wherever_and_however_they_are_spelled() -> None:
    text = "no route for correct horse/battery and correct%20horse%2Fbattery"
    assert redact(text, ["correct horse/battery"]) == "no route for *** and ***"


def test_of_two_known_values_the_longer_goes_first() -> None:
    assert redact("abcdefgh", ["abcd", "abcdefgh"]) == "***"


def test_empty_and_tiny_values_are_not_taken_for_secrets() -> None:
    assert redact("a b c", ["", "a"]) == "a b c"


def test_the_rest_of_the_text_stays_readable() -> None:
    cleaned = redact("GET https://u:p@host/x?api_key=k1&page=2 answered 401")
    assert cleaned == "GET https://***@host/x?api_key=***&page=2 answered 401"


@given(st.text(), st.lists(st.text(min_size=4).filter(lambda secret: "*" not in secret), max_size=3))
def test_no_known_value_survives_and_twice_is_as_once(text: str, secrets: list[str]) -> None:
    wrapped = f"{text} {' '.join(secrets)}"
    cleaned = redact(wrapped, secrets)
    assert all(secret not in cleaned for secret in secrets)
    assert redact(redact(wrapped)) == redact(wrapped)


@pytest.mark.parametrize(
    "unit",
    [
        "eyJ-",
        "a-",
        "://",
        "password",
        "-----BEGIN PRIVATE KEY-----",
        "Bearer ",
        "basic a",
        "sk-",
        "sk-a1A",
        "a-sig",
        "token:",
        "sk-a1_",
        "auth_",
        "a-token:session-",
        "password:\\\\",
        'password\\":\\"',
        'token=\\"x\\\\"',
    ],
)
def test_a_hostile_text_costs_linear_time(unit: str) -> None:
    assert growth(lambda size: redact(unit * (size // len(unit))), 20_000, 160_000) < 5
