"""What the site of the documentation adds to docs/: README as its first page, and a page for each module.

Links in the documents are those of a checkout. Where one leads out of docs/, the site has the module's page, or, of a
file that is no module, its name alone.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ROOMS = ("gan", "baselines", "datamodules", "photos", "victims", "evaluation", "callbacks", "experiments")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def modules(room: str) -> list[Path]:
    """A room's files, relative to the root, in order; those without a docstring and tests are none of the API."""
    return [p.relative_to(ROOT) for p in sorted((ROOT / room).rglob("*.py")) if p.read_text().startswith('"""')]


def page_of(module: Path) -> str:
    """Where a module's page is, relative to docs/."""
    return f"api/{module.with_suffix('').as_posix().replace('/__init__', '')}.md"


def dotted(module: Path) -> str:
    """``gan/noise.py`` as ``gan.noise``."""
    return module.with_suffix("").as_posix().replace("/__init__", "").replace("/", ".")


def on_config(config: Any) -> Any:
    """The API's part of the navigation: a section per room."""
    rooms = [{room: [{dotted(m): page_of(m)} for m in modules(room)]} for room in ROOMS]
    config["nav"] = [{"API": rooms} if "API" in entry else entry for entry in config["nav"]]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds README and a page per module to what docs/ has."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text()))
    for room in ROOMS:
        for module in modules(room):
            files.append(
                File.generated(config, page_of(module), content=f"# {dotted(module)}\n\n::: {dotted(module)}\n")
            )
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Turns links of a checkout into links of the site."""
    place = ROOT if page.file.src_uri == "index.md" else (ROOT / "docs" / page.file.src_uri).parent
    if page.file.src_uri.startswith("api/"):
        return markdown

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in target:
            return found[0]
        file = (place / path).resolve()
        if not file.is_relative_to(ROOT) or not file.exists():
            return found[0]  # the strict build names it
        inside = file.relative_to(ROOT)
        if inside.suffix == ".py" and inside.parts[0] in ROOMS:
            return f"[{text}]({page_of(inside)})"
        if inside.parts[0] == "docs" and inside.suffix:
            goal = "/".join(inside.parts[1:])
            return f"[{text}]({goal}{'#' + anchor if anchor else ''})"
        name = inside.as_posix()
        return f"`{name}`" if text.strip("`") == name else f"{text} (`{name}`)"

    markdown = LINK.sub(link, markdown)
    return markdown.replace("](docs/", "](") if page.file.src_uri == "index.md" else markdown
