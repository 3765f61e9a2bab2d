"""A readable document of few kinds of blocks, as one self-contained HTML file and as Markdown.

The HTML loads nothing: styles are inline, pictures are data URIs, there is no script, and its content policy forbids
the rest. It is the template ``page.html``, filled by Jinja, which escapes every text.
"""

import base64
import re
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from evaluation.verdicts import Verdict

LONG = 40  # characters from which a table's cell may be wrapped


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title, and no level is left out on the way down."""

    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of plain lines."""

    lines: list[str]


@dataclass(frozen=True)
class Verdicts:
    """The verdict's lines."""

    lines: list[Verdict]


@dataclass(frozen=True)
class Table:
    """A table: its first column names the rows."""

    caption: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG.

    Attributes:
        alt: what it shows, for who cannot see it.
    """

    png: bytes
    alt: str
    caption: str


Block = Heading | Text | Items | Verdicts | Table | Picture

TEMPLATES = Environment(
    loader=PackageLoader("experiments.report", "."),
    autoescape=True,
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["kind"] = lambda block: type(block).__name__
TEMPLATES.filters["base64"] = lambda data: base64.b64encode(data).decode()
PAGE = TEMPLATES.get_template("page.html")


def to_html(blocks: list[Block]) -> str:
    """The document as one HTML file; its title is the first heading."""
    title = next(b.text for b in blocks if isinstance(b, Heading))
    return PAGE.render(title=title, blocks=blocks, long=LONG)


def to_markdown(blocks: list[Block]) -> str:
    """The document as GitHub's Markdown, with the captions of its pictures alone."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text):
            return "#" * level + " " + _plain(text)
        case Text(text):
            return _plain(text)
        case Items(lines):
            return "\n".join(f"* {_plain(line)}" for line in lines)
        case Verdicts(verdicts):
            return "\n".join("\n  * ".join([f"* **{_plain(v.claim)}**", *map(_plain, v.lines)]) for v in verdicts)
        case Table(caption, head, rows):
            cells = [head, ["---"] * len(head), *rows]
            table = ["| " + " | ".join(map(_plain, line)) + " |" for line in cells]
            return "\n".join([f"{_plain(caption)}:", "", *table])
        case Picture(_, _, caption):
            return f"*Figure, in the HTML file: {_plain(caption)}*"


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing but text, on one line."""
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;")
