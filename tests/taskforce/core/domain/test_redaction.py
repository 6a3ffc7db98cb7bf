"""No secret leaves in an error text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.redaction import redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("header was 'Bearer abc.def-ghi_jkl'", "abc.def-ghi_jkl"),
        ("sent Basic dXNlcjpwYXNzMQ==", "dXNlcjpwYXNzMQ=="),
        ("Incorrect API key provided: sk-proj-Abc123_def456.", "Abc123_def456"),
        ("key tf_0123456789abcdef was revoked", "0123456789abcdef"),
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


@pytest.mark.parametrize("unit", ["eyJ-", "a-", "://", "password", "-----BEGIN PRIVATE KEY-----", "Bearer ", "basic a"])
def test_a_hostile_text_costs_linear_time(unit: str) -> None:
    def cost(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        redact(text)
        return time.process_time() - start

    assert cost(160_000) < 40 * max(cost(20_000), 0.002)
