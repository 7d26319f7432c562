"""Reading the YAML of a run: its keys, overridden by the command line's.

file + --key=value -> checked as plain YAML -> HyperPyYAML -> {key: value}
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.transformer_lm import LmSizes
from nar_asr_lobes.training.config import (
    RunConfig,
    parse_config,
    task_sections,
)
from nar_asr_lobes.training.fields import fill, text_fields
from nar_asr_lobes.training.lm import config as lm_config


def load_run(
    path: str | os.PathLike, overrides: str = ""
) -> RunConfig | lm_config.LmRunConfig:
    """Read a YAML, of speech or of text as its task says.

    Arguments
    ---------
    path : str or path
        The file.
    overrides : str
        YAML text of the keys given on the command line.

    Returns
    -------
    RunConfig or LmRunConfig

    Raises
    ------
    UserError
        For a missing file, broken YAML, a missing or an unknown key, and a
        value of the wrong kind or beyond its limit.
    """
    values, where = read_yaml(path, overrides), str(path)
    if values.get("task") != lm_config.TASK:
        return parse_config(values, where)
    for name, section in lm_config.SECTIONS.items():
        if values.get(name) is not None:
            values[name] = fill(section, values[name], f"{where}: {name}")
    config = fill(lm_config.LmRunConfig, values, where)
    fill(LmSizes, config.model, f"{where}: model")
    return config


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
    keys, nodes = _read_plain(path)
    given = ruamel.yaml.YAML().load(overrides) or {}
    _check_overrides(path, keys, given)
    task = given.get("task", keys.get("task"))
    _keep_texts(keys, nodes, *_schema(task))
    if given:
        nodes = ruamel.yaml.YAML().compose(overrides)
        _keep_texts(given, nodes, *_schema(task))
    rest = _put_in(keys, given)
    file = io.StringIO()
    file.name = path  # files are included relative to it
    ruamel.yaml.YAML().dump(keys, file)
    file.seek(0)
    return resolve_references(file, rest).read()


def _schema(task: object) -> tuple[type, dict[str, type]]:
    """Give the class of a task's keys and those of its sections."""
    if task == lm_config.TASK:
        return lm_config.LmRunConfig, lm_config.SECTIONS
    return RunConfig, task_sections(task)


def _keep_texts(
    keys: dict, node: MappingNode, keys_class: type, sections: dict[str, type]
) -> None:
    """Put texts back as written: YAML reads 2024-11-29, 007 and 1e3 else."""
    texts = text_fields(keys_class)
    for name, value in ((key.value, value) for key, value in node.value):
        if name in sections and isinstance(value, MappingNode):
            _keep_texts(keys[name], value, sections[name], {})
        elif name in texts and isinstance(value, SequenceNode):
            for index, item in enumerate(value.value):
                keys[name][index] = _as_written(keys[name][index], item)
        elif name in texts:
            keys[name] = _as_written(keys[name], value)


def _as_written(value: object, node: Node) -> object:
    """Give a plain scalar's text where YAML made something else of it."""
    scalar = isinstance(node, ScalarNode) and not _tag(value)
    if value is None or isinstance(value, str) or not scalar:
        return value
    return SingleQuotedScalarString(node.value)


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


def _read_plain(path: str | os.PathLike) -> tuple[dict, MappingNode]:
    """Read the keys and tags of a YAML as they stand, and its nodes."""
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file; name one of the recipe's YAMLs")
    try:
        found = ruamel.yaml.YAML().load(Path(path))
        nodes = ruamel.yaml.YAML().compose(Path(path))
    except ruamel.yaml.error.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise UserError(
            f"{path}:{line}: is not YAML ({error.problem}); correct this line"
        ) from error
    except (ruamel.yaml.error.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML; name a recipe's YAML") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no keys; name a recipe's YAML")
    return found, nodes
