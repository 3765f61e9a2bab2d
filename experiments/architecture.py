"""The rooms and who imports whom, read from the code: what docs/ARCHITECTURE.md shows and the tests keep true."""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# from the ground up; a room imports from those before it, but not from the one that stands beside it on its level
LEVELS = {
    "datamodules": 0,
    "victims": 1,
    "gan": 2,
    "baselines": 3,
    "evaluation": 4,
    "photos": 5,
    "callbacks": 5,
    "experiments": 6,
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for room in LEVELS
        for path in sorted((ROOT / room).rglob("*.py"))
    }


@cache
def imports() -> dict[str, set[str]]:
    """Every module of the project and the modules of the project that it imports, within functions too."""
    known, found = modules(), {}
    for module, path in known.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= (inner & known.keys()) or {node.module}
        found[module] = {name for name in names if name in known and name != module}
    return found


def room_of(module: str) -> str:
    """The room that a module is in."""
    return module.partition(".")[0]


def picture() -> str:
    """The rooms as a diagram (Mermaid): an arrow from each room to those that its modules import."""
    arrows = Counter(
        (room_of(module), room_of(other))
        for module, others in imports().items()
        for other in others
        if room_of(module) != room_of(other)
    )
    order = list(LEVELS)[::-1]
    lines = [
        f"    {room} --> {other}"
        for room, other in sorted(arrows, key=lambda pair: [order.index(name) for name in pair])
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def inventory() -> str:
    """Every room with its modules, each with the first sentence of what it says about itself."""
    parts: list[str] = []
    for room in list(LEVELS)[::-1]:
        parts += [f"### {room}/", ""]
        for module, path in modules().items():
            if room_of(module) == room and path.name not in ("__init__.py", "__main__.py"):
                said = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
                parts.append(f"* `{path.relative_to(ROOT / room).as_posix()}`: {said}")
        parts.append("")
    return "\n".join(parts).rstrip()
