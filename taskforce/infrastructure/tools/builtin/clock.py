"""What time it is."""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from taskforce.core.interfaces.tools import ToolContext, ToolFailure
from taskforce.infrastructure.tools.declaration import tool

# Not `%A`, which speaks the language of the process.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@tool(quick=True)
async def current_time(
    context: ToolContext, timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
) -> dict[str, str]:
    """Tells the current date, time and weekday.

    Args:
        context: Lent by the product; the model does not see it.
        timezone: IANA name of a time zone, for example Europe/Berlin.
    """
    local = context.now.astimezone(_zone(timezone))
    return {
        "iso": local.isoformat(timespec="seconds"),
        "date": local.date().isoformat(),
        "time": local.time().isoformat(timespec="seconds"),
        "weekday": WEEKDAYS[local.weekday()],
        "timezone": timezone,
    }


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ToolFailure(
            f"The time zone {name!r} is not known. Give an IANA name such as UTC or Europe/Berlin."
        ) from error
