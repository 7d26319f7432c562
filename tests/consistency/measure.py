"""Measures the package's size, to compare two trees.

    python tests/consistency/measure.py [ROOT ...]

Code lines hold a token that is neither a comment nor a docstring.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path
from statistics import median

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_EMPTY = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> set[int]:
    """Return the numbers of the lines with code."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _EMPTY:
            found |= set(range(token.start[0], token.end[0] + 1))
    return found - docstring_lines(ast.parse(text))


def docstring_lines(tree: ast.AST) -> set[int]:
    """Return the numbers of the lines with docstrings."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, *_FUNCTIONS)):
            if ast.get_docstring(node) is not None:
                first = node.body[0]
                found |= set(range(first.lineno, first.end_lineno + 1))
    return found


def public_names(tree: ast.Module) -> int:
    """Count public classes and functions of a module."""
    return sum(
        isinstance(node, (ast.ClassDef, *_FUNCTIONS))
        and not node.name.startswith("_")
        for node in tree.body
    )


def measure(root: Path) -> dict[str, object]:
    """Measure the package below a folder."""
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in sorted((root / "nar_asr_lobes").rglob("*.py"))
    }
    code = {path: code_lines(text) for path, text in texts.items()}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    functions = {
        f"{path.relative_to(root)}:{node.name}": len(
            code[path] & set(range(node.lineno, node.end_lineno + 1))
        )
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, _FUNCTIONS)
    }
    longest = max(functions, key=functions.get)
    folders = Counter(str(p.parent.relative_to(root)) for p in texts)
    total = sum(map(len, code.values()))
    names = sum(map(public_names, trees.values()))
    documented = sum(len(docstring_lines(tree)) for tree in trees.values())
    return {
        "files": len(texts),
        "lines": sum(len(text.splitlines()) for text in texts.values()),
        "code lines": total,
        "docstring lines": documented,
        "public names per 1,000 code lines": round(1000 * names / total, 1),
        "function median": median(functions.values()),
        "longest function": f"{functions[longest]} ({longest})",
        "files a folder": dict(folders.most_common()),
    }


if __name__ == "__main__":
    for argument in sys.argv[1:] or ["."]:
        print(argument)
        for title, value in measure(Path(argument)).items():
            print(f"  {title}: {value}")
