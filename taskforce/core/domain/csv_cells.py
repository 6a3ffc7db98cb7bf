"""Cells of CSV files that people may open with a spreadsheet."""

# A spreadsheet takes a text that begins so for a formula; tags, names and reasons are written by callers. The last four
# are the wide signs of East Asian keyboards, which some take for the narrow ones.
_FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")


def cell(text: str | None) -> str:
    """Returns a text as a cell; one that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{text}" if text and text.startswith(_FORMULA) else text or ""
