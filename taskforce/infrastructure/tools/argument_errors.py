"""Messages about invalid tool arguments, in sentences that a model can act on.

The arguments may be anything that JSON can carry, written by an attacker: nothing here recurses into them without a
bound or quotes them at length.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol

from jsonschema import ValidationError

from taskforce.infrastructure.tools.truncation import shortened

MAX_PROBLEMS = 10
MAX_SENTENCE = 400
MAX_QUOTED = 60
MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_INTEGER_BITS = 1_024

_LIMITS = frozenset({"minLength", "maxLength", "minItems", "maxItems"})


class Validator(Protocol):
    """Types the part of a compiled `jsonschema` validator that is used."""

    def iter_errors(self, instance: object) -> Iterable[ValidationError]:
        """Yields the violations."""
        ...


def complaints(validator: Validator, arguments: object) -> tuple[str, ...]:
    """Validates arguments against a tool's schema.

    Args:
        validator: Compiled from the tool's schema.
        arguments: What the model gave.

    Returns:
        At most 10 sentences of at most 400 characters, each once; empty when the arguments fit.
    """
    if (excess := _excess(arguments)) is not None:
        return (excess,)
    sentences = (
        shortened(sentence, MAX_SENTENCE)
        for error in islice(validator.iter_errors(arguments), 100 * MAX_PROBLEMS)
        for sentence in _sentences(error)
    )
    # More are looked at than are told, because many violations make the same sentence.
    return tuple(dict.fromkeys(islice(sentences, 100 * MAX_PROBLEMS)))[:MAX_PROBLEMS]


def _excess(arguments: object) -> str | None:
    """Returns a problem of size or depth, found without recursion, so that later checks may recurse and quote."""
    layer, seen = [arguments], 0
    for _ in range(MAX_DEPTH):
        seen += len(layer)
        if seen > MAX_VALUES:
            return f"arguments: hold more than {MAX_VALUES} values"
        # Messages quote the value, and Python refuses to write an integer of more than 4,300 digits.
        if any(isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS for value in layer):
            return "arguments: hold a number that is too large"
        layer = [inner for value in layer for inner in _inner(value)]
        if not layer:
            return None
    return f"arguments: are nested more than {MAX_DEPTH} levels deep"


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _sentences(error: ValidationError) -> Iterator[str]:
    place = ".".join(str(part) for part in error.absolute_path)
    instance = error.instance
    if error.validator == "required" and isinstance(instance, Mapping):
        wanted = error.validator_value if isinstance(error.validator_value, list) else []
        yield from (f"{_at(place, name)}: is required" for name in wanted if name not in instance)
    elif error.validator == "additionalProperties" and isinstance(instance, Mapping):
        properties = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
        known = ", ".join(properties) or "none"
        for name in islice((name for name in instance if name not in properties), MAX_PROBLEMS):
            yield f"{_at(place, shortened(str(name), MAX_QUOTED))}: is not known here; known: {known}"
    elif error.context:
        reasons = dict.fromkeys(_message(inner) for inner in error.context)
        yield f"{place or 'arguments'}: {' or '.join(reasons)}"
    else:
        yield f"{place or 'arguments'}: {_message(error)}"


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _message(error: ValidationError) -> str:
    """Shortens the validator's message, which begins with the whole value."""
    quoted = repr(error.instance)
    limit = f" ({error.validator}: {error.validator_value})" if error.validator in _LIMITS else ""
    return error.message.replace(quoted, shortened(quoted, MAX_QUOTED), 1) + limit
