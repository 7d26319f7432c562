"""Reading the YAML of a run: its keys, overridden by the command line's.

file + --key=value -> checked as plain YAML -> HyperPyYAML -> {key: value}
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references

from nar_asr_lobes.errors import UserError


def read_yaml(path: str | os.PathLike, overrides: str = "") -> dict:
    """Read the keys of any run's YAML, with those of the command line.

    Raises UserError for a missing file and broken YAML.
    """
    try:
        return load_hyperpyyaml(resolve_yaml(path, overrides))
    except UserError:
        raise
    except Exception as error:  # HyperPyYAML raises whatever a tag raised
        named = isinstance(error, OSError) or not error.args
        reason = str(error) if named else ": ".join(map(str, error.args))
        raise UserError(
            f"{path}: a value cannot be made ({' '.join(reason.split())}); "
            "correct it"
        ) from error


def resolve_yaml(path: str | os.PathLike, overrides: str = "") -> str:
    """Write out a run's YAML: overridden, references and files put in.

    Raises what HyperPyYAML raises for a reference or a file that is not
    there, UserError for other faults of the YAML and the overrides.
    """
    keys, given = _read_plain(path), ruamel.yaml.YAML().load(overrides) or {}
    _check_overrides(path, keys, given)
    rest = _put_in(keys, given)
    file = io.StringIO()
    file.name = path  # files are included relative to it
    ruamel.yaml.YAML().dump(keys, file)
    file.seek(0)
    return resolve_references(file, rest).read()


def _check_overrides(path: str | os.PathLike, keys: dict, given: dict) -> None:
    """Refuse what HyperPyYAML would, in words that say what to do."""
    for key, node in keys.items():
        if _tag(node) == "!PLACEHOLDER" and key not in given:
            raise UserError(
                f"{path}: key {key!r} is left to you; add --{key}=VALUE"
            )
    for key, value in given.items():
        node = keys.get(key)
        has_keys = isinstance(node, dict | None) or _is_include(node)
        if isinstance(value, dict) and not _tag(value) and not has_keys:
            raise UserError(
                f"{path}: {key} is one value there, so it has no keys to give; "
                f"write --{key}=VALUE"
            )


def _put_in(keys: dict, given: dict) -> dict:
    """Put in what HyperPyYAML does not take as an override; give the rest.

    These are keys of a file, which it takes below its ``!include``, and keys
    with a tag of their own, of which it would take the keys alone.
    """
    rest = {}
    for key, value in given.items():
        node = keys.get(key)
        below = _is_include(node) and not isinstance(node, dict)
        if isinstance(value, dict) and (below or _tag(value)):
            if not _tag(value):
                value.yaml_set_ctag(node.tag)
            keys[key] = value
        else:
            rest[key] = value
    return rest


def _is_include(node: object) -> bool:
    return _tag(node).startswith("!include:")


def _tag(node: object) -> str:
    """Give a node's tag, such as ``!new:CLASS``; empty where it has none."""
    return getattr(getattr(node, "tag", None), "value", None) or ""


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
