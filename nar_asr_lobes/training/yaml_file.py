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
    rest = _below_includes(keys, given)
    file = io.StringIO()
    file.name = path  # files are included relative to it
    ruamel.yaml.YAML().dump(keys, file)
    file.seek(0)
    return resolve_references(file, rest).read()


def _check_overrides(path: str | os.PathLike, keys: dict, given: dict) -> None:
    """Refuse what HyperPyYAML would, in words that say what to do."""
    for key, node in keys.items():
        tag = getattr(node, "tag", None)
        if tag is not None and tag.value == "!PLACEHOLDER" and key not in given:
            raise UserError(
                f"{path}: key {key!r} is left to you; add --{key}=VALUE"
            )
    for key, value in given.items():
        node = keys.get(key)
        whole = not isinstance(node, dict | None) and not _is_include(node)
        if isinstance(value, dict) and whole:
            raise UserError(
                f"{path}: {key} is one value there, so it has no keys to give; "
                f"write --{key}=VALUE"
            )


def _below_includes(keys: dict, given: dict) -> dict:
    """Write the keys given for a file below its ``!include``; give the rest.

    HyperPyYAML takes them there, but not as overrides.
    """
    rest = {}
    for key, value in given.items():
        node = keys.get(key)
        if isinstance(value, dict) and _is_include(node):
            if value.tag.value is None:
                value.yaml_set_ctag(node.tag)
            keys[key] = value
        else:
            rest[key] = value
    return rest


def _is_include(node: object) -> bool:
    """Whether it is an ``!include:FILE`` without keys of its own."""
    tag = getattr(node, "tag", None)
    named = tag is not None and str(tag.value).startswith("!include:")
    return named and not isinstance(node, dict)


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
