"""Attacks by odd spellings of a token: its shape, its base64 and its JSON."""

import base64
import json

import pytest

from taskforce.infrastructure.auth.jwt_guard import LONGEST_TOKEN
from tests.taskforce.infrastructure.auth.forged_tokens import b64, claims, forge, hs256
from tests.taskforce.infrastructure.auth.guard_factories import believed, code


def test_nothing_is_missing_and_not_invalid() -> None:
    assert code(None) == "token_missing"
    assert code("") == "token_missing"


@pytest.mark.parametrize("token", [b"a.b.c", 1, 1.5, True, [], {}, object(), forge().encode()])
def test_what_is_no_text_is_no_token(token: object) -> None:
    assert code(token) == "token_invalid"


@pytest.mark.parametrize(
    "token",
    [
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        "null.null.null",
        forge().rsplit(".", 1)[0],
        forge().rsplit(".", 1)[0] + ".",
        "." + forge().split(".", 1)[1],
        forge() + ".",
        "." + forge(),
        forge() + "." + forge(),
        "Bearer " + forge(),
        " " + forge(),
        forge() + " ",
        forge() + "\n",
        "\ufeff" + forge(),
        forge().replace(".", ".\n", 1),
        forge().replace(".", "=.", 1),
        forge().replace(".", "==.", 1),
        forge() + "=",
        forge() + "A",
        forge() + "\0",
        forge().replace("e", "\uff45", 1),  # fullwidth e, which NFKC turns into e
        forge().replace("e", "é", 1),
        "\ud800" + forge(),
        "🙂.🙂.🙂",
        "%2e%2e%2f",
    ],
)
def test_odd_shapes_and_spellings_are_refused(token: str) -> None:
    assert code(token) == "token_invalid"


def test_the_standard_alphabet_is_not_the_url_alphabet() -> None:
    payload = json.dumps(claims(note="~~~???>>>"), ensure_ascii=False).encode()
    standard = base64.b64encode(payload).rstrip(b"=").decode()
    head = b64(b'{"alg":"HS256"}')
    message = f"{head}.{standard}"

    assert "+" in standard or "/" in standard
    assert code(f"{message}.{b64(hs256()(message.encode()))}") == "token_invalid"


def test_stray_bits_at_the_end_of_a_segment_are_refused() -> None:
    head, _, last = forge()[:-1], None, forge()[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = head + alphabet[alphabet.index(last) + 1]

    assert base64.urlsafe_b64decode(twin.split(".")[2] + "=") == base64.urlsafe_b64decode(forge().split(".")[2] + "=")
    assert code(twin) == "token_invalid"


@pytest.mark.parametrize("padding", ["=", "==", "===", "====", " ", "\n", "%3D", "."])
@pytest.mark.parametrize("segment", [0, 1, 2])
def test_a_padded_segment_is_refused_by_the_guard_itself_though_it_is_signed_so(segment: int, padding: str) -> None:
    """As in Wycheproof's `invalidBase64Padding`; HTTP would have refused most of them before."""
    added = ["", "", ""]
    added[segment] = padding
    head, body = (b64(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims()))
    message = f"{head}{added[0]}.{body}{added[1]}"

    assert code(f"{message}.{b64(hs256()(message.encode()))}{added[2]}") == "token_invalid"


@pytest.mark.parametrize("segment", [0, 1])
def test_stray_bits_of_a_segment_are_refused_though_it_is_signed_so(segment: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # Blanks at the end, so that the last letter of the encoding has bits to spare.
    texts = [json.dumps(part) for part in ({"alg": "HS256"}, claims())]
    parts = [b64((text + " " * ((1 - len(text)) % 3)).encode()) for text in texts]
    assert believed(f"{'.'.join(parts)}.{b64(hs256()('.'.join(parts).encode()))}")
    parts[segment] = parts[segment][:-1] + alphabet[alphabet.index(parts[segment][-1]) + 1]
    message = ".".join(parts)

    assert code(f"{message}.{b64(hs256()(message.encode()))}") == "token_invalid"


def test_a_huge_token_is_refused_unread() -> None:
    assert believed(forge(payload=claims(note="x" * 8000)))
    assert code(forge(payload=claims(note="x" * LONGEST_TOKEN))) == "token_invalid"
    assert code("a" * 10_000_000) == "token_invalid"
    assert code("." * 1_000_000) == "token_invalid"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"alg":"HS256"}{}',
        b'{"alg":"HS256",}',
        b"{'alg':'HS256'}",
        b'{"alg":"none","alg":"HS256"}',
        b'{"alg":"HS256","alg":"HS256"}',
        b'{"alg":"HS256","\\u0061lg":"none"}',
        b'{"alg":"HS256","n":NaN}',
        b'{"alg":"HS256","n":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"alg":"HS256","n":' + b'{"a":' * 1500 + b"1" + b"}" * 1500 + b"}",
        b'{"alg":"HS256","n":' + b"9" * 5000 + b"}",
        b'{"alg":"HS256","n":"\\ud800"}',
        b'{"alg":"HS256","n":"\\u0000"}',
    ],
)
def test_a_header_that_is_no_plain_json_object_is_refused(text: bytes) -> None:
    assert code(forge(text)) == "token_invalid"


def raw_claims(extra: str) -> bytes:
    return (json.dumps(claims())[:-1] + f", {extra}}}").encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        json.dumps([claims()]).encode(),
        json.dumps(json.dumps(claims())).encode(),
        forge().encode(),
        json.dumps(forge()).encode(),
        json.dumps(claims()).encode("utf-16"),
        json.dumps(claims()).encode() + b"\0",
        raw_claims('"sub": "admin"'),
        raw_claims('"org_id": "other"'),
        raw_claims('"roles": ["admin"], "roles": ["viewer"]'),
        raw_claims('"nested": {"a": 1, "a": 2}'),
        raw_claims('"n": NaN'),
        raw_claims('"n": -Infinity'),
        raw_claims('"n": 1e400'),
        raw_claims('"n": [[[[1e999]]]]'),
        raw_claims('"n": ' + "1" * 6000),
        raw_claims('"n": 0.' + "1" * 6000),
        raw_claims('"n": ' + "[" * 3000 + "]" * 3000),
        raw_claims('"n": ' + "[" * 20 + "]" * 20),
        raw_claims('"n": "\\u0000"'),
        raw_claims('"\\u0000": 1'),
        raw_claims('"n": ["\\udfff"]'),
    ],
)
def test_claims_that_are_no_plain_json_object_are_refused(payload: bytes) -> None:
    assert code(forge(payload=payload)) == "token_invalid"
