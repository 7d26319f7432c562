"""Which files import which: no circles, and folders import downwards only."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "nar_asr_lobes"
# From the lowest to the highest; folders of one row know nothing of each other.
LEVELS = (
    ("errors", "jit"),
    ("schema", "storage", "distributed"),
    ("tensors", "doctor"),
    ("dataio",),
    ("lobes",),
    ("lm",),
    ("decoding",),
    ("evaluation",),
    ("objectives", "inference", "report"),
    ("training",),
    ("pretrained", "planning"),
    ("cli",),
)


def imports_of(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line, dotted name and whether it is carried out at import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from _imports(tree.body, True)


def _imports(
    body: Iterable[ast.AST], at_import: bool
) -> Iterator[tuple[int, str, bool]]:
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}", at_import
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, at_import
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _imports(node.body, False)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(
            node.test
        ):
            yield from _imports(node.body, False)
        else:
            yield from _imports(ast.iter_child_nodes(node), at_import)


def upward_imports(root: Path) -> Iterator[str]:
    """Yield imports of a folder that is not below the importing one."""
    level = {name: i for i, row in enumerate(LEVELS) for name in row}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        own = _folder(path.relative_to(root / PACKAGE).parts[0])
        if own == "__init__":
            continue
        for line, name, _ in imports_of(path):
            first, *rest = name.split(".")
            if first != PACKAGE or not rest or rest[0] == own:
                continue
            if rest[0] not in level and rest[0].startswith("__"):
                continue
            if level.get(rest[0], len(LEVELS)) >= level.get(own, -1):
                yield f"{path}:{line}: {own} imports {rest[0]}"


def _folder(name: str) -> str:
    return name.removesuffix(".py")


def import_circles(root: Path) -> Iterator[str]:
    """Yield files that import each other, through others too."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in sorted((root / PACKAGE).rglob("*.py"))
    }
    needs = {
        name: {
            found
            for _, imported, at_import in imports_of(path)
            if at_import
            for found in (imported, imported.rpartition(".")[0])
            if found in files and found != name
        }
        for name, path in files.items()
    }
    # a file that needs nothing of the rest is in no circle
    while free := [name for name, rest in needs.items() if not rest]:
        for name in free:
            del needs[name]
        for rest in needs.values():
            rest.difference_update(free)
    for name, rest in sorted(needs.items()):
        yield f"{files[name]}: in a circle with {', '.join(sorted(rest))}"
