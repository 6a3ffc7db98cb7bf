"""Schemas that tenants write: which are taken, and that none takes long, whatever it says."""

from typing import Any

import pytest

from taskforce.application.approvals.payload_schemas import MOST_NODES, check_payload, schema_problems
from taskforce.core.domain.errors import Invalid
from tests.fixtures.costs import growth

Schema = dict[str, Any]
HOLIDAY: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "days": {"type": "integer", "minimum": 1, "maximum": 30},
        "where": {"type": "string", "maxLength": 20},
        "with": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
    "required": ["days"],
    "additionalProperties": False,
}


def refusal(schema: Schema | None, payload: dict[str, Any]) -> Invalid:
    with pytest.raises(Invalid) as refused:
        check_payload(schema, payload)
    return refused.value


def test_a_payload_that_fits_passes_and_one_that_does_not_says_why() -> None:
    assert schema_problems(HOLIDAY) == ()
    check_payload(HOLIDAY, {"days": 3, "where": "Iceland", "with": ["bob"]})
    check_payload(None, {"anything": [1, {"goes": None}]})
    refused = refusal(HOLIDAY, {"days": 31, "with": ["bob", 7], "pet": "dog"})
    assert refused.code == "payload_invalid"
    problems = refused.details["problems"]
    assert isinstance(problems, list)
    assert {one.split(":")[0] for one in problems} == {
        "days",
        "with.1",
        "Additional properties are not allowed ('pet' was unexpected)",
    }


@pytest.mark.parametrize(
    ("schema", "about"),
    [
        ({"$ref": "https://example.com/schema"}, "$ref"),
        ({"properties": {"a": {"$dynamicRef": "#a"}}}, "properties.a.$dynamicRef"),
        ({"allOf": [{"if": {"pattern": "(a+)+$"}}]}, "allOf[0].if.pattern"),
        ({"properties": {"pattern": {"patternProperties": {}}}}, "properties.pattern.patternProperties"),
        ({"items": {"uniqueItems": True}}, "items.uniqueItems"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"not": {"$schema": "http://json-schema.org/draft-04/schema#"}}, "not.$schema"),
        ({"$defs": {}}, "$defs"),
        ({"type": "objekt"}, "type"),
        ({"properties": {"a": {"maxLength": -1}}}, "properties.a.maxLength"),
        ({"properties": 7}, "properties"),
        ({"enum": list(range(MOST_NODES))}, "has more than"),
        ([], "must be an object"),
        (True, "must be an object"),
    ],
)
def test_what_is_not_taken(schema: object, about: str) -> None:
    assert schema_problems(schema)[0].startswith(about)


def test_a_programs_tuples_are_lists() -> None:
    schema = {"required": ("days",), "properties": {"days": {"enum": (1, 2)}}}
    assert schema_problems(schema) == ()
    check_payload(schema, {"days": 1})
    assert refusal(schema, {"days": 3}).code == "payload_invalid"


def test_words_of_schemas_that_are_only_data_are_taken() -> None:
    taken = {"const": {"$ref": "x"}, "enum": [{"pattern": "y"}], "default": {"uniqueItems": 1}, "examples": ["$defs"]}
    assert schema_problems({"properties": {"$ref": taken, "pattern": {"type": "string"}}}) == ()


@pytest.mark.parametrize(
    "payload",
    [
        {"a": float("nan")},
        {"a": {1, 2}},
        {"a": "x" * 100_001},
        {"a": list(range(5_001))},
    ],
)
def test_what_could_not_be_kept_or_takes_too_long(payload: dict[str, Any]) -> None:
    assert refusal(None, payload).code in {"payload_invalid", "payload_malformed"}


def test_a_large_schema_takes_small_payloads_only() -> None:
    wide = {"properties": {"a": {"items": {"allOf": [{"not": {"type": "string"}} for _ in range(300)]}}}}
    assert schema_problems(wide) == ()
    check_payload(wide, {"a": list(range(100))})
    refusal(wide, {"a": list(range(1_000))})


def test_the_worst_that_is_taken_costs_no_more_than_its_length() -> None:
    branch: Schema = {"not": {"type": "string", "maxLength": 3}}
    worst = {"properties": {"a": {"items": {"allOf": [branch] * 32}}}}
    # What this guards against is exponential: the longer of the two would not end.
    assert growth(lambda size: check_payload(worst, {"a": list(range(size))}), 150, 1_500) < 4
