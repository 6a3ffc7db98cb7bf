"""JSON Schemas that tenants write for the payloads of their requests: the part of 2020-12 with a bounded run time.

Their authors are not trusted, and the process that applies them serves other tenants. So there are no references
(`$ref`), no keyword that can take longer than schema size times payload size (patterns, `uniqueItems`,
`unevaluated...`), and that product is bounded: about a second at worst.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from jsonschema import Draft202012Validator, SchemaError, ValidationError

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.json_limits import check_document

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MOST_NODES: Final = 1_000
"""Values in a schema, property names not counted."""
MOST_VALUES: Final = 5_000
MOST_WORK: Final = 200_000
"""The product of the values in a schema and those in a payload."""
MAX_CHARACTERS: Final = 100_000
MOST_PROBLEMS: Final = 10
_MAX_SENTENCE = 300

_MAPS = frozenset({"properties", "dependentSchemas"})
_LISTS = frozenset({"prefixItems", "allOf", "anyOf", "oneOf"})
_SINGLE = frozenset({"items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"})
_PLAIN = frozenset(
    {"$schema", "$comment", "title", "description", "default", "examples", "deprecated", "format", "type", "enum"}
    | {"const", "required", "dependentRequired", "minProperties", "maxProperties", "minItems", "maxItems"}
    | {"minContains", "maxContains", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"}
    | {"exclusiveMaximum"}
)
KEYWORDS: Final = _MAPS | _LISTS | _SINGLE | _PLAIN


def schema_problems(schema: object) -> Sequence[str]:
    """Lists the problems of a schema; fulfils `SchemaCheck`.

    Args:
        schema: JSON-compatible and of bounded depth.

    Returns:
        Sentences, at most ten; empty for a schema that can be applied.
    """
    # Through JSON, as it will be applied: tuples become lists, and keys texts.
    return tuple(islice(_problems(json.loads(json.dumps(schema))), MOST_PROBLEMS))


def check_payload(schema: Mapping[str, object] | None, payload: Mapping[str, object]) -> None:
    """Requires that a payload fits its schema and size limits; may take a second, so a service calls it in a thread.

    Args:
        schema: A schema without `schema_problems`; None accepts any object.
        payload: Parsed JSON of bounded depth.

    Raises:
        Invalid: `payload_malformed`; `payload_invalid`, whose `details["problems"]` lists up to ten.
    """
    check_document(payload, "payload")
    try:
        text = json.dumps(payload, ensure_ascii=False)
    except (TypeError, ValueError):
        raise Invalid("payload_invalid", "The payload must be JSON.") from None
    most = min(MOST_VALUES, MOST_WORK // _values(schema or {}))
    if len(text) > MAX_CHARACTERS or _values(payload) > most:
        raise Invalid("payload_invalid", f"The payload has at most {MAX_CHARACTERS} characters and {most} values here.")
    if schema is not None:
        refuse_payload(payload_problems(schema, json.loads(text)))


def payload_problems(schema: Mapping[str, object], payload: object) -> Sequence[str]:
    """Lists what does not fit in a payload, in at most ten sentences."""
    errors = _validator(json.dumps(schema)).iter_errors(payload)
    return [_sentence(error) for error in islice(errors, MOST_PROBLEMS)]


def refuse_payload(problems: Sequence[str]) -> None:
    """Requires that a payload has no problems.

    Raises:
        Invalid: `payload_invalid`, whose `details["problems"]` lists them.
    """
    if problems:
        text = f"The payload does not fit its definition. The first problem: {problems[0]}"
        raise Invalid("payload_invalid", text, details={"problems": list(problems)})


def _problems(schema: object) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        yield "must be an object."
        return
    if _values(schema) > MOST_NODES:
        yield f"has more than {MOST_NODES} values in it."
        return
    for path, one in _subschemas(schema):
        for keyword in sorted(one.keys() - KEYWORDS) if isinstance(one, Mapping) else ():
            yield f"{path}{keyword[:64]} is not read here; read are {', '.join(sorted(KEYWORDS))}."
        # The validator would read a subschema with another `$schema` as that dialect, with keywords not bounded here.
        if isinstance(one, Mapping) and one.get("$schema", DIALECT) != DIALECT:
            yield f"{path}$schema must be {DIALECT}."
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        yield _sentence(error)


def _subschemas(schema: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yields a schema and its subschemas, at the places where 2020-12 has schemas; elsewhere keywords are data."""
    yield path, schema
    for keyword, value in schema.items() if isinstance(schema, Mapping) else ():
        if keyword in _SINGLE:
            yield from _subschemas(value, f"{path}{keyword}.")
        elif keyword in _LISTS and isinstance(value, list | tuple):
            for at, one in enumerate(value):
                yield from _subschemas(one, f"{path}{keyword}[{at}].")
        elif keyword in _MAPS and isinstance(value, Mapping):
            for name, one in value.items():
                yield from _subschemas(one, f"{path}{keyword}.{str(name)[:64]}.")


# By the schema's text, for a mapping has no hash.
@lru_cache(256)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def _sentence(error: ValidationError | SchemaError) -> str:
    place = ".".join(str(part) for part in error.absolute_path)
    text = f"{place}: {error.message}" if place else error.message
    return text if len(text) <= _MAX_SENTENCE else f"{text[: _MAX_SENTENCE - 1]}…"


def _values(payload: object) -> int:
    waiting, seen = [payload], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        waiting += part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
    return seen
