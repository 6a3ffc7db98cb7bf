"""Time zones by their IANA names."""

import re
from typing import Final
from zoneinfo import ZoneInfo

from taskforce.core.domain.errors import Invalid

# Neither `localtime`, which differs from machine to machine, nor `right/...`, whose days do not begin with a minute.
_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Z][A-Za-z0-9_+-]*){0,2}")


def parse_time_zone(name: str) -> ZoneInfo:
    """Returns the time zone of an IANA name.

    Args:
        name: The name, for example `Asia/Kolkata`.

    Raises:
        Invalid: `time_zone_unknown`.
    """
    if _NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        # No such file, or a directory of zones.
        except (KeyError, ValueError, OSError):
            pass
    text = "There is no such time zone. Send a name of the IANA database such as Europe/Berlin, or UTC."
    raise Invalid("time_zone_unknown", text)
