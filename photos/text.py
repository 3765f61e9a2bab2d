"""Names as they may be shown: on a terminal and in a page."""

from pathlib import Path


def printable(text: str | Path) -> str:
    """Text on one line, with whatever a terminal would obey, or not show, as an escape.

    Names may hold line breaks, which would forge lines of the output; control sequences, which move the cursor and
    change colours; marks that turn the direction of writing; and bytes that are no UTF-8.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))
