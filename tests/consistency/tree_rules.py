"""The rules of the house as functions: a tree in, its faults out.

Each rule yields one line for each fault, "file[:line]: what", so that a test
that fails says what to mend.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

MAX_CODE_LINES = 250  # without docstrings, comments and blank lines
MAX_TEST_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_TRAIN_LINES = 40

FOLDERS = (
    *("nar_asr_lobes", "recipes", "hparams", "slurm"),
    *("tests", "benchmarks", "docs"),
)
# What a run or a tool leaves behind; .gitignore keeps it out of the tree.
_LEFT_BEHIND = {"__pycache__", "results", "data", "build", ".ruff_cache"}
_TEXT = {".py", ".yaml", ".md", ".txt", ".toml", ".sh", ".sbatch", ""}
_MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(work|home|root|Users)/\w")
_CALLS = ("!new:", "!name:", "!apply:")
_REFERENCE = re.compile(r"<([^<>]+)>")


def tree_files(root: Path) -> list[Path]:
    """Every file of the repository, without what runs leave behind."""
    inside = [root / name for name in (*FOLDERS, ".ci")]
    found = [path for path in root.iterdir() if not path.is_dir()]
    found += [path for folder in inside for path in folder.rglob("*")]
    return sorted(
        path
        for path in found
        if (path.is_symlink() or path.is_file())
        and not _LEFT_BEHIND & set(path.relative_to(root).parts)
    )


def python_files(root: Path, *folders: str) -> list[Path]:
    """The Python files below some folders."""
    return [
        path
        for path in tree_files(root)
        if path.suffix == ".py" and path.relative_to(root).parts[0] in folders
    ]


def missing_docstrings(paths: Iterable[Path]) -> Iterator[str]:
    """Yield modules and public names without one; empty files need none."""
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name, node in _public(tree) if tree.body else ():
            if not ast.get_docstring(node):
                yield f"{path}:{line}: {name} has no docstring"


def _public(
    node: ast.AST, prefix: str = "module"
) -> Iterator[tuple[int, str, ast.AST]]:
    yield getattr(node, "lineno", 1), prefix, node
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in node.body:
            if isinstance(child, _NAMED) and not child.name.startswith("_"):
                yield from _public(child, child.name)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NAMED = (*_FUNCTIONS, ast.ClassDef)


def vague_docstrings(root: Path) -> Iterator[str]:
    """Yield docstrings that open with "What" instead of naming a thing."""
    folders = ("nar_asr_lobes", "recipes", "benchmarks", "tests")
    for path in python_files(root, *folders):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, *_NAMED)):
                text = ast.get_docstring(node) or ""
                if text.lower().startswith("what "):
                    line = getattr(node, "lineno", 1)
                    yield f"{path}:{line}: {text.splitlines()[0]}"


def too_long(root: Path) -> Iterator[str]:
    """Yield files and functions above their limits of lines."""
    for path in tree_files(root):
        if path.suffix not in (".py", ".yaml"):
            continue
        text = path.read_text(encoding="utf-8")
        if path.relative_to(root).parts[0] == "tests":
            length, limit, kind = len(text.splitlines()), MAX_TEST_LINES, ""
        else:
            length, limit, kind = (
                _code_lines(path, text),
                MAX_CODE_LINES,
                " of code",
            )
        if length > limit:
            yield f"{path}: {length} lines{kind}, at most {limit}"
        if path.suffix == ".py":
            yield from _long_functions(path, ast.parse(text))


def _code_lines(path: Path, text: str) -> int:
    """Count the lines that hold more than a comment or a docstring."""
    lines = enumerate(text.splitlines(), start=1)
    code = {n for n, x in lines if x.strip() and x.strip()[0] != "#"}
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, *_FUNCTIONS)):
                if ast.get_docstring(node) is not None:
                    first = node.body[0]
                    code -= set(range(first.lineno, first.end_lineno + 1))
    return len(code)


def _long_functions(path: Path, tree: ast.AST) -> Iterator[str]:
    """The docstring and the signature are counted out, decorators too."""
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS):
            body = node.body[ast.get_docstring(node) is not None :]
            first = body[0].lineno if body else node.lineno
            length = node.end_lineno - first + 1
            if length > MAX_FUNCTION_LINES:
                yield (
                    f"{path}:{node.lineno}: {node.name} has {length} lines, "
                    f"at most {MAX_FUNCTION_LINES}"
                )


def symlinks(root: Path) -> Iterator[str]:
    """Yield the symbolic links of the tree."""
    for path in tree_files(root):
        if path.is_symlink():
            yield f"{path}: is a symbolic link"


def machine_paths(root: Path) -> Iterator[str]:
    """Yield lines that name a folder of somebody's machine."""
    for path in tree_files(root):
        if path.suffix in _TEXT and not path.is_symlink():
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, start=1):
                if _MACHINE_PATH.search(line):
                    yield f"{path}:{number}: names a path of a machine"


def unnamed_encodings(root: Path) -> Iterator[str]:
    """Yield where text is read or written in whatever encoding is set."""
    for path in python_files(root, "nar_asr_lobes", "recipes", "benchmarks"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _opens_text(node):
                yield f"{path.relative_to(root)}:{node.lineno}: no encoding"


def _opens_text(call: ast.Call) -> bool:
    named = {keyword.arg for keyword in call.keywords}
    name = ast.unparse(call.func).rpartition(".")[2]
    if ast.unparse(call.func) in ("os.open", "av.open") or "encoding" in named:
        return False
    if name == "open":
        mode = call.args[0 if isinstance(call.func, ast.Attribute) else 1 :]
        return not (mode and "b" in ast.unparse(mode[0]))
    return isinstance(call.func, ast.Attribute) and name in (
        "read_text",
        "write_text",
    )


def dead_keys(root: Path) -> Iterator[str]:
    """Yield keys of the YAML files that nothing reads.

    A key counts as read when it stands in the package or a recipe as an
    attribute, an argument's or field's name, or a string of its own; or when
    a YAML file refers to it with !ref <key> (<a[b]> refers to a and b); or
    when it is an argument of !new:, !name: or !apply:, for what these call
    refuses arguments it does not know; or when it is the name of a recipe,
    which recipes/Multi reads.
    """
    files = [path for path in tree_files(root) if path.suffix == ".yaml"]
    read = {path.name for path in root.glob("recipes/*")}
    for path in python_files(root, "nar_asr_lobes", "recipes"):
        read |= _names_read(ast.parse(path.read_text(encoding="utf-8")))
    for path in files:
        for reference in _REFERENCE.findall(path.read_text(encoding="utf-8")):
            read |= set(re.findall(r"\w+", reference))
    for path in files:
        for line, key in _yaml_keys(path):
            if key not in read:
                yield f"{path}:{line}: nothing reads the key {key}"


def _names_read(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and isinstance(
            node.target, ast.Name
        ):
            names.add(node.target.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def _yaml_keys(path: Path) -> Iterator[tuple[int, str]]:
    """Keys at every depth but those of calls; no tag is carried out."""
    pending = [yaml.compose(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not node.tag.startswith(_CALLS):
                    yield key.start_mark.line + 1, key.value
                pending.append(value)


def uneven_train_scripts(root: Path) -> Iterator[str]:
    """Yield recipes whose train.py is long or differs beyond its import."""
    scripts = sorted((root / "recipes").glob("*/train.py"))
    bodies = {path: _without_import(path) for path in scripts}
    for path, body in bodies.items():
        length = len(path.read_text(encoding="utf-8").splitlines())
        if length > MAX_TRAIN_LINES:
            yield f"{path}: {length} lines, at most {MAX_TRAIN_LINES}"
        if body != bodies[scripts[0]]:
            yield f"{path}: differs from {scripts[0]} beyond its import"


def _without_import(path: Path) -> str:
    """The code without its docstring and the import of its own parser."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = tree.body[ast.get_docstring(tree) is not None :]
    own = f"{path.parent.name.lower()}_prepare"
    kept = [
        node
        for node in body
        if not (isinstance(node, ast.ImportFrom) and node.module == own)
    ]
    return "\n".join(map(ast.dump, kept))


def bare_recipes(root: Path) -> Iterator[str]:
    """Yield recipes with training settings but without the usual files."""
    for folder in sorted((root / "recipes").iterdir()):
        if (folder / "hparams").is_dir():
            parser = f"{folder.name.lower()}_prepare.py"
            for name in ("train.py", parser, "README.md"):
                if not (folder / name).is_file():
                    yield f"{folder}: has no {name}"
