"""Pages of HTML from the templates in ``photos/page``: one file each, which loads nothing; names are escaped."""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from photos.text import printable


def render(template: str, **values: object) -> str:
    """A template, filled; every text is escaped but ``Markup``.

    Args:
        template: name of a file in ``photos/page``.
        values: that it names.
    """
    return _ENVIRONMENT.get_template(template).render(**values)


def script() -> tuple[Markup, str]:
    """The one program of the pages, and its hash as a content policy states it: no other can run."""
    text = (files("photos") / "page" / "slider.js").read_text()
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def duration(seconds: float) -> str:
    """How long something took, in whole minutes: pages of the same work are the same."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    hours, rest = divmod(minutes, 60)
    parts = [(hours, "hour"), (rest, "minute")]
    return " ".join(f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in parts if count)


def megabytes(count: int) -> str:
    """Bytes in megabytes."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def spread(values: Sequence[float], digits: int) -> str:
    """The least, the mean and the most."""
    if not values:
        return "–"
    return ", ".join(f"{value:.{digits}f}" for value in (min(values), sum(values) / len(values), max(values)))


def _most_frequent(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _percents(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]


_ENVIRONMENT = Environment(
    loader=PackageLoader("photos", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip
_ENVIRONMENT.filters |= {
    "printable": printable, "duration": duration, "megabytes": megabytes, "spread": spread, "percents": _percents,
    "most_frequent": _most_frequent,
}  # fmt: skip
