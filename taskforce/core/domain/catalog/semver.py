"""Version numbers by Semantic Versioning 2.0."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

from taskforce.core.domain.errors import Invalid

LONGEST = 64

_NUMBER = r"(?:0|[1-9][0-9]*)"
_LABEL = rf"(?:{_NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"(?P<core>{_NUMBER}\.{_NUMBER}\.{_NUMBER})"
    rf"(?:-(?P<pre>{_LABEL}(?:\.{_LABEL})*))?(?:\+(?P<build>[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class SemVer:
    """A version number. Two that differ in their build metadata alone are equal (section 10).

    Attributes:
        core: Major, minor and patch.
        pre: The identifiers of a pre-release; empty for a release.
        text: As it was written.
    """

    core: tuple[int, ...]
    pre: tuple[str, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a version number such as `1.4.0-rc.1+build.5`.

        Raises:
            Invalid: `version_number_invalid`.
        """
        found = _VERSION.fullmatch(text) if len(text) <= LONGEST else None
        if found is None:
            said = f"A version number looks like 1.4.0 or 2.0.0-rc.1 (semver.org), in at most {LONGEST} characters."
            raise Invalid("version_number_invalid", said)
        core = tuple(int(part) for part in found["core"].split("."))
        return cls(core, tuple(found["pre"].split(".")) if found["pre"] else (), text)

    def __eq__(self, other: object) -> bool:
        return self._place() == other._place() if isinstance(other, SemVer) else NotImplemented

    def __lt__(self, other: "SemVer") -> bool:
        return self._place() < other._place()

    def __hash__(self) -> int:
        return hash(self._place())

    def __str__(self) -> str:
        return self.text

    def _place(self) -> tuple[object, ...]:
        # Section 11: a release follows its pre-releases; numeric identifiers precede others, and fewer precede more.
        labels = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in self.pre)
        return self.core, not self.pre, labels
