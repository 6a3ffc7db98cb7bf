"""A reader of documents written by hand: collects all problems, each with its path and, where possible, a hint."""

import difflib
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.json_limits import check_document

MAX_PROBLEMS = 1_000
MAX_TEXT = 256
MAX_NAMES = 100
MAX_VALUES = 1_000
_MAX_HINTS = 50
_SHOWN = 64


@dataclass(slots=True)
class Problems:
    """The problems of a document, in the order found.

    Args:
        code: The code of the error, for example `policy_invalid`.
        what: The noun for the message, for example `policy document`.
    """

    code: str
    what: str
    found: list[dict[str, str]] = field(default_factory=list)
    uncounted: int = 0

    def add(self, path: str, text: str) -> None:
        """Adds a problem; beyond `MAX_PROBLEMS` they are only counted."""
        if len(self.found) < MAX_PROBLEMS:
            self.found.append({"path": path or "document", "problem": text})
        else:
            self.uncounted += 1

    def weigh(self, document: object, most: int) -> None:
        """Checks nesting, numbers and length, so that the document can be stored, hashed and walked through."""
        try:
            check_document(document, "document")
            length = len(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        except (Invalid, TypeError, ValueError) as error:
            self.add("", error.message if isinstance(error, Invalid) else "must be JSON.")
            return
        if length > most:
            self.add("", f"must have at most {most} characters, not {length}.")

    def hint(self, name: str, known: Iterable[str]) -> str:
        """Returns a suggestion for a misspelt name as a sentence, or an empty text."""
        # Each search for close matches is costly, so a hostile document gets a bounded number of hints.
        if len(self.found) >= _MAX_HINTS:
            return ""
        close = difflib.get_close_matches(name[:_SHOWN], list(known), n=1)
        return f" Did you mean '{close[0]}'?" if close else ""

    def refuse(self) -> None:
        """Requires that no problem was found.

        Raises:
            Invalid: Of this code; `details["problems"]` lists the first 1,000 of `details["count"]`.
        """
        if self.found:
            count = len(self.found) + self.uncounted
            first = f"{self.found[0]['path']}: {self.found[0]['problem']}"
            text = f"The {self.what} has {count} problem{'s' if count > 1 else ''}. The first: {first}"
            raise Invalid(self.code, text, details={"problems": self.found, "count": count})


@dataclass(frozen=True, slots=True)
class Part:
    """A value with its path in the document. A wrong value is a problem and is read as an empty one, so reading goes
    on.
    """

    value: object
    path: str
    problems: Problems

    def say(self, text: str) -> None:
        """Adds a problem of this value."""
        self.problems.add(self.path, text)

    def fields(self, needed: Collection[str], optional: Collection[str] = ()) -> dict[str, "Part"]:
        """Reads an object: its values by name; missing needed names and unknown names are problems."""
        if not isinstance(self.value, Mapping):
            self.say("must be an object.")
            return {}
        for name in needed:
            if name not in self.value:
                self.say(f"'{name}' is missing.")
        known = (*needed, *optional)
        for name in self.value:
            if name not in known:
                self.problems.add(self._below(name), f"is not known.{self.problems.hint(str(name), known)}")
        return {name: Part(self.value[name], self._below(name), self.problems) for name in known if name in self.value}

    def _below(self, name: object) -> str:
        part = name if isinstance(name, str) and re.fullmatch(r"\w{1,64}", name, re.ASCII) else shown(name)
        return f"{self.path}.{part}" if self.path else part

    def one_of(self, names: Collection[str]) -> str | None:
        """Returns the only one of these names that an object has; none or several is a problem."""
        chosen = [name for name in names if isinstance(self.value, Mapping) and name in self.value]
        if len(chosen) != 1 and isinstance(self.value, Mapping):
            self.say(f"must have exactly one of {', '.join(names)}.")
        return chosen[0] if len(chosen) == 1 else None

    def items(self, most: int, least: int = 1) -> list["Part"]:
        """Reads a list: its values with their paths."""
        if not isinstance(self.value, list | tuple):
            self.say("must be a list.")
            return []
        if len(self.value) < least:
            self.say("must not be empty; leave the key out if it should say nothing.")
        if len(self.value) > most:
            self.say(f"must have at most {most} entries, not {len(self.value)}.")
        # Entries beyond the limit are not read: they would only add problems to the one above.
        return [Part(one, f"{self.path}[{at}]", self.problems) for at, one in enumerate(self.value[:most])]

    def text(self, longest: int = MAX_TEXT) -> str:
        """Reads a non-empty text on one line."""
        if not isinstance(self.value, str) or not 0 < len(self.value) <= longest:
            self.say(f"must be a text of 1 to {longest} characters.")
        elif any(unicodedata.category(letter) in ("Cc", "Cs") for letter in self.value):
            self.say("must not have control characters or broken ones.")
        else:
            return self.value
        return ""

    def texts(self) -> frozenset[str]:
        """Reads a non-empty list of texts."""
        return frozenset(part.text() for part in self.items(MAX_VALUES))

    def names(self, least: int = 0) -> tuple[str, ...]:
        """Reads a short list of texts, without duplicates, in alphabetical order."""
        return tuple(sorted({part.text() for part in self.items(MAX_NAMES, least)} - {""}))

    def choice(self, known: Collection[str], among: str = "") -> str:
        """Reads one of the known words."""
        if isinstance(self.value, str) and self.value in known:
            return self.value
        hint = self.problems.hint(self.value, known) if isinstance(self.value, str) else ""
        self.say(f"must be {among or 'one of ' + ', '.join(known)}, not {shown(self.value)}.{hint}")
        return ""

    def flag(self) -> bool:
        """Reads a boolean; a wrong value is read as false."""
        if not isinstance(self.value, bool):
            self.say("must be true or false.")
        return self.value is True

    def number(self, least: int, most: int) -> int:
        """Reads a whole number in a range; a wrong one is read as the least."""
        if isinstance(self.value, int) and not isinstance(self.value, bool) and least <= self.value <= most:
            return self.value
        self.say(f"must be a whole number from {least} to {most}.")
        return least


def shown(value: object) -> str:
    """Quotes a value for a message, shortened."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
