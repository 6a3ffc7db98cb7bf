"""Documents that the gateway sent, read without trust in their shape or their texts."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from cli.terminal import clean, one_line
from taskforce.core.domain.visible_text import visible


class Document:
    """A JSON object. What is missing, or of another type than expected, reads as empty.

    Args:
        raw: The object as it came, for `--json`.
    """

    def __init__(self, raw: Mapping[str, object] | None = None) -> None:
        self.raw: Mapping[str, object] = raw or {}

    @classmethod
    def parse(cls, text: str | bytes) -> "Document | None":
        """Reads JSON, or returns None when it is not an object."""
        try:
            found = json.loads(text)
        except ValueError:
            return None
        return cls(found) if isinstance(found, dict) else None

    def text(self, key: str) -> str:
        """Returns a text, safe for a terminal; empty for null."""
        value = self.raw.get(key)
        return clean(value) if isinstance(value, str) else ""

    def exact(self, key: str) -> str:
        """Returns a text as it is, on one line, with escapes for what cannot be seen; empty for null."""
        value = self.raw.get(key)
        return visible(value) if isinstance(value, str) else ""

    def maybe_number(self, key: str) -> int | None:
        """Returns a whole number, or None."""
        value = self.raw.get(key)
        # JSON's true is an int in Python.
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def number(self, key: str) -> int:
        """Returns a whole number, 0 if there is none."""
        return self.maybe_number(key) or 0

    def real(self, key: str) -> float | None:
        """Returns a number, or None."""
        value = self.raw.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Returns a truth value."""
        value = self.raw.get(key)
        return value if isinstance(value, bool) else default

    def child(self, key: str) -> "Document":
        """Returns an object within."""
        value = self.raw.get(key)
        return Document(value if isinstance(value, dict) else None)

    def items(self, key: str) -> list["Document"]:
        """Returns the objects of a list within."""
        value = self.raw.get(key)
        return [Document(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def texts(self, key: str) -> list[str]:
        """Returns the texts of a list within."""
        value = self.raw.get(key)
        return [clean(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def exact_texts(self, key: str) -> list[str]:
        """Returns the texts of a list within, each as `exact` does."""
        value = self.raw.get(key)
        return [visible(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def time(self, key: str) -> datetime | None:
        """Returns a time, UTC, or None."""
        value = self.raw.get(key)
        if not isinstance(value, str):
            return None
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def arguments(self, key: str, longest: int = 200) -> str:
        """Formats a tool's arguments on one line: `name=value`, or the raw text when they were malformed."""
        value = self.raw.get(key)
        if not isinstance(value, dict):
            return one_line(value, longest) if isinstance(value, str) else ""
        shown = (f"{name}={_brief(argument)}" for name, argument in value.items())
        return one_line(" ".join(shown), longest)


def _brief(value: object) -> str:
    if isinstance(value, list):
        return f"[{len(value)}]"
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, dict) else "{…}"
