"""To whom usage is charged: department and cost center, and the tags of the request."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.visible_text import is_visible

DEPARTMENT = "department"
COST_CENTER = "cost_center"
MOST_TAGS = 10
LONGEST_TAG_NAME = 64
LONGEST_LABEL = 256
LABEL = f"is a text of 1 to {LONGEST_LABEL} visible characters, or a whole number."
"""Says what a department or cost center is."""

_TAG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


@dataclass(frozen=True, slots=True)
class Attribution:
    """To whom the usage of a run is charged; of an agent, to whom that of its runs is where their users do not say.

    Attributes:
        department: The department, if any.
        cost_center: The cost center, if any.
        tags: The tags of the request.
    """

    department: str | None = None
    cost_center: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, facts: Mapping[str, object]) -> "Attribution":
        """Reads department and cost center from a user's attributes, an agent's metadata, or tags.

        Args:
            facts: They may hold anything; what is no label counts as none.
        """
        return cls(label(facts.get(DEPARTMENT)), label(facts.get(COST_CENTER)))

    @classmethod
    def resolve(cls, user: Mapping[str, object], agent: "Attribution", tags: Mapping[str, str]) -> "Attribution":
        """Returns the attribution of a new run. Of department and cost center each, the first that names one decides.

        Args:
            user: The user's attributes. They are administered, so no caller charges another department.
            agent: That of the agent.
            tags: The tags of the request, checked.
        """
        own, asked = cls.read(user), cls.read(tags)
        return cls(
            department=own.department or agent.department or asked.department,
            cost_center=own.cost_center or agent.cost_center or asked.cost_center,
            tags=dict(tags),
        )


def label(value: object) -> str | None:
    """Reads a department or cost center, as identity providers and definitions write them: a text, or a whole number.

    Args:
        value: The value of an attribute.

    Returns:
        Its text without blanks around it, or None where it is none, has invisible characters or more than 256.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip() if isinstance(value, str) or abs(value) < 10**18 else ""
    return text if text and _is_label(text) else None


def check_tags(tags: Mapping[str, str]) -> None:
    """Requires tags that can be charged to.

    Raises:
        Invalid: `tags_invalid`: more than 10, a name that is not `[a-z0-9_.-]{1,64}`, or a value that is empty, has
            invisible characters or more than 256.
    """
    fit = len(tags) <= MOST_TAGS and all(_is_name(name) and _is_label(value) for name, value in tags.items())
    if not fit:
        text = (
            f"A run has at most {MOST_TAGS} tags; their names have 1 to {LONGEST_TAG_NAME} of a-z, 0-9, '_', '.' and "
            f"'-', their values 1 to {LONGEST_LABEL} visible characters."
        )
        raise Invalid("tags_invalid", text)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_TAG_NAME and _TAG_CHARACTERS.issuperset(name)


def _is_label(text: str) -> bool:
    return 0 < len(text) <= LONGEST_LABEL and bool(text.strip()) and is_visible(text)
