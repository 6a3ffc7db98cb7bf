"""Text of models and people for the eyes of those who decide on it: what cannot be seen is shown as an escape."""

import json
import re
import unicodedata
from typing import Final

# Controls and format characters, those of bidirectional text among them, halves of pairs, private and unassigned ones.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that are drawn as nothing.
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)


def visible(text: str) -> str:
    """Shows a text exactly, on one line: what a terminal would obey or would not draw is there as an escape of JSON.

    Args:
        text: From a model, a tool or a person.
    """
    return "".join(json.dumps(one)[1:-1] if _is_unseen(one) else one for one in text)


def is_visible(text: str) -> bool:
    """Returns whether every character of a text is drawn as what it is."""
    return not any(_is_unseen(one) for one in text)


def _is_unseen(one: str) -> bool:
    return unicodedata.category(one) in _UNSEEN or _BLANK.match(one) is not None
