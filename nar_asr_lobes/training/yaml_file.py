"""Reading the YAML of a run: its keys, overridden by the command line's.

file + --key=value -> checked as plain YAML -> HyperPyYAML -> {key: value}
"""

from __future__ import annotations

import os
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml

from nar_asr_lobes.errors import UserError


def read_yaml(path: str | os.PathLike, overrides: str = "") -> dict:
    """Read the keys of any run's YAML, with those of the command line.

    Raises UserError for a missing file and broken YAML.
    """
    _check_overrides(path, overrides)
    try:
        with open(path, encoding="utf-8") as file:
            return load_hyperpyyaml(file, overrides, overrides_must_match=False)
    except Exception as error:  # HyperPyYAML raises whatever a tag raised
        named = isinstance(error, OSError) or not error.args
        reason = str(error) if named else ": ".join(map(str, error.args))
        raise UserError(
            f"{path}: a value cannot be made ({' '.join(reason.split())}); "
            "correct it"
        ) from error


def _check_overrides(path: str | os.PathLike, overrides: str) -> None:
    """Refuse what HyperPyYAML would, in words that say what to do."""
    given = ruamel.yaml.YAML().load(overrides) or {}
    keys = _read_plain(path)
    for key, node in keys.items():
        tag = getattr(node, "tag", None)
        if tag is not None and tag.value == "!PLACEHOLDER" and key not in given:
            raise UserError(
                f"{path}: key {key!r} is left to you; add --{key}=VALUE"
            )
    for key, value in given.items():
        whole = key in keys and not isinstance(keys[key], dict | None)
        if isinstance(value, dict) and whole:
            raise UserError(
                f"{path}: {key} is one value or a whole file there, so its "
                "keys cannot be given one by one; write them, indented, below "
                f"{key} in the YAML, or --{key}=VALUE, or "
                f"--{key}='!include:FILE' with FILE relative to the YAML"
            )


def _read_plain(path: str | os.PathLike) -> dict:
    """Read the keys and tags of a YAML as they stand; nothing is built."""
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file; name one of the recipe's YAMLs")
    try:
        found = ruamel.yaml.YAML().load(Path(path))
    except ruamel.yaml.error.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise UserError(
            f"{path}:{line}: is not YAML ({error.problem}); correct this line"
        ) from error
    except (ruamel.yaml.error.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML; name a recipe's YAML") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no keys; name a recipe's YAML")
    return found
