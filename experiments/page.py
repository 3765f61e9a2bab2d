"""A readable document of few kinds of blocks, as one self-contained HTML file and as Markdown.

The HTML loads nothing: styles are inline, pictures are data URIs, there is no script, and its content policy forbids
the rest. Its frame is ``page.html``.
"""

import base64
import html
import re
from dataclasses import dataclass
from importlib.resources import files
from string import Template

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
class Verdict:
    """One claim of the verdict.

    Attributes:
        kind: ``stopped``, ``weakened``, ``broken`` or ``unknown``: the colour.
        claim: what is claimed, and of what.
        lines: the figures behind it, and what is to be known of them.
    """

    kind: str
    claim: str
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


def to_html(blocks: list[Block]) -> str:
    """The document as one HTML file; its title is the first heading."""
    title = next(b.text for b in blocks if isinstance(b, Heading))
    frame = Template((files("experiments") / "page.html").read_text(encoding="utf-8"))
    return frame.substitute(title=html.escape(title), body="\n".join(map(_html, blocks)))


def _html(block: Block) -> str:
    safe = html.escape
    match block:
        case Heading(level, text):
            return f"<h{level}>{safe(text)}</h{level}>"
        case Text(text):
            return f"<p>{safe(text)}</p>"
        case Items(lines):
            return "<ul>" + "".join(f"<li>{safe(line)}</li>" for line in lines) + "</ul>"
        case Verdicts(verdicts):
            items = [
                f'<li class="{safe(v.kind)}"><strong>{safe(v.claim)}</strong>{_html(Items(v.lines))}</li>'
                for v in verdicts
            ]
            return '<ul class="verdicts">\n' + "\n".join(items) + "\n</ul>"
        case Table(caption, head, rows):
            top = "".join(f'<th scope="col">{safe(name)}</th>' for name in head)
            body = "\n".join(
                f'<tr><th scope="row">{safe(first)}</th>' + "".join(map(_cell, others)) + "</tr>"
                for first, *others in rows
            )
            # a region that the keyboard can scroll
            return (
                f'<div class="scroll" role="region" tabindex="0" aria-label="{safe(caption)}"><table>'
                f"<caption>{safe(caption)}</caption>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
            )
        case Picture(png, alt, caption):
            data = base64.b64encode(png).decode()
            return (
                f'<figure><div class="scroll" role="region" tabindex="0" aria-label="{safe(caption)}">'
                f'<img alt="{safe(alt)}" src="data:image/png;base64,{data}"></div>'
                f"<figcaption>{safe(caption)}</figcaption></figure>"
            )


def _cell(text: str) -> str:
    return f'<td class="long">{html.escape(text)}</td>' if len(text) > LONG else f"<td>{html.escape(text)}</td>"


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
