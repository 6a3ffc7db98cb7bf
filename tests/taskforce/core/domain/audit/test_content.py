"""What the audit log says of a content: its hash, and itself only where that is wanted."""

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.audit.content import MAX_CONTENT, MAX_TEXT, ContentRules
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.redaction import redact_document

SECRET = "hunter2-hunter2"
INCLUDED = ContentRules(included=True, secrets=(SECRET,))


def test_a_hash_stands_in_the_contents_place() -> None:
    event_fields = ContentRules(secrets=(SECRET,)).event_fields(
        {"mission": "Find Ada's salary.", "context": {"b": 1, "a": "é"}}
    )
    canonical = '{"context":{"a":"é","b":1},"mission":"Find Ada\'s salary."}'
    assert event_fields == {"content_sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def test_the_hash_of_a_call_is_the_one_that_its_approval_binds_to() -> None:
    call = {"tool": "pay", "arguments": {"amount": 3}}
    assert ContentRules().event_fields(call)["content_sha256"] == canonical_hash(call)


def test_a_content_that_is_included_has_no_secrets() -> None:
    content = {
        "mission": f"Log in with {SECRET}, or sk-0123456789abcdef.",
        "context": {"Password": 1234, "deep": [{"apiKey": ["a", "b"], "note": f"x{SECRET}"}], SECRET: "named so"},
    }
    event_fields = INCLUDED.event_fields(content)
    assert event_fields["content_sha256"] == canonical_hash(content)
    assert event_fields["content"] == {
        "mission": "Log in with ***, or ***.",
        "context": {"Password": "***", "deep": [{"apiKey": "***", "note": "x***"}], "***": "named so"},
    }


def test_a_secret_is_not_saved_by_being_cut() -> None:
    padding = "x" * (MAX_TEXT - 10)
    event_fields = json.dumps(INCLUDED.event_fields({"text": f"{padding} {SECRET} more"}))
    assert SECRET[:6] not in event_fields


def test_long_texts_are_cut_and_so_are_long_contents() -> None:
    event_fields = INCLUDED.event_fields({"text": "x" * 1_000_000})["content"]
    assert event_fields == {"text": "x" * (MAX_TEXT - 1) + "…"}
    whole = INCLUDED.event_fields({"texts": ["x" * 1_000] * 1_000})["content"]
    assert isinstance(whole, str)
    assert (len(whole), whole[:12], whole[-1]) == (MAX_CONTENT, '{"texts": ["', "…")


def test_names_that_only_sound_like_secrets_stay() -> None:
    harmless = {"design": "x", "monkey": "y", "paths": ["z"], "count": 3, "secretive": "no"}
    assert redact_document(harmless) == harmless
    assert redact_document({"password": None, "token": True}) == {"password": None, "token": True}


TEXTS = st.text(max_size=12) | st.sampled_from([SECRET, f"x{SECRET} y", f"{SECRET}{SECRET}"])
JSON = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(TEXTS, parts, max_size=4),
    max_leaves=20,
)


@given(content=st.dictionaries(TEXTS, JSON, max_size=4))
def test_whatever_is_asked_can_be_told_within_bounds(content: dict[str, object]) -> None:
    event_fields = INCLUDED.event_fields(content)
    assert len(json.dumps(event_fields["content"], ensure_ascii=False)) <= 2 * MAX_CONTENT
    assert SECRET not in json.dumps(event_fields["content"], ensure_ascii=False)
