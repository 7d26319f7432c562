"""The command line and the YAML of a run, read into its configuration.

FILE.yaml --key=value ... -> the file, SpeechBrain's run options, overrides
file (+ files it includes) + overrides -> HyperPyYAML -> RunConfig

Fragments come in with ``!include:FILE``; keys below it override the
file's, and the tag may stand on the whole document. References such as
``!ref <peak_lr>`` are to keys of the run, from a fragment too.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import ruamel.yaml
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.schema import parse, require_count, sections, text_fields
from nar_asr_lobes.training.config import (
    BUNDLE_TASKS,
    LM_TASK,
    EvaluationConfig,
    LmRunConfig,
    RunConfig,
)
from nar_asr_lobes.training.init_from import with_imported_sizes

_FLAGS = ("noprogressbar", "find_unused_parameters", "compile")
_CHOICES = {
    "precision": ("fp32", "bf16"),
    "eval_precision": ("fp32", "bf16"),
    "distributed_backend": ("nccl", "gloo"),
    "compile_mode": ("default", "reduce-overhead", "max-autotune"),
}
_OPTIONS = (*_FLAGS, *_CHOICES, "device")
_INCLUDE = "!include:"
_CLASSES = (RunConfig, EvaluationConfig, LmRunConfig)


def _text_places(section: type, place: tuple[str, ...] = ()) -> dict:
    """Give the type of each text of a run by its place, (section, key)."""
    found = {(*place, n): kind for n, kind in text_fields(section).items()}
    for name, inside in sections(section).items():
        found |= _text_places(inside, (*place, name))
    return found


_TEXTS = {
    place: kind
    for config in _CLASSES
    for place, kind in _text_places(config).items()
}
_SECTIONS = {place[0] for place in _TEXTS if len(place) > 1}
_WITHOUT_EFFECT = {field.name for field in fields(RunOptions)} - {*_OPTIONS}


def parse_arguments(
    arguments: Sequence[str],
) -> tuple[str, RunOptions, str]:
    """Split a command line; on the CPU, default to gloo.

    Returns the YAML's path, SpeechBrain's own options as far as they have an
    effect here, and the other ``--key=value`` as YAML text.

    Example
    -------
    >>> path, _, overrides = parse_arguments(["a.yaml", "--steps=3"])
    >>> path, overrides
    ('a.yaml', 'steps: 3')
    """
    files, options = _split(arguments)
    if len(files) != 1:
        raise UserError(
            f"{len(files)} YAML files are given ({', '.join(files)}), not one; "
            "call python train.py hparams/pretrain.yaml --key=value"
        )
    run_options = {k: v for k, v in options.items() if k in _OPTIONS}
    _check_options(run_options)
    if not torch.cuda.is_available():
        run_options.setdefault("device", "cpu")
    if run_options.get("device") == "cpu":
        run_options.setdefault("distributed_backend", "gloo")
    overrides = [
        _override(key, value)
        for key, value in options.items()
        if key not in _OPTIONS
    ]
    run_opts = RunOptions.from_dictionary(run_options)
    return files[0], run_opts, "\n".join(overrides)


def _split(
    arguments: Sequence[str],
) -> tuple[list[str], dict[str, str | bool]]:
    """Tell files from options."""
    files: list[str] = []
    options: dict[str, str | bool] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            files.append(word)
        elif key in _WITHOUT_EFFECT:
            raise UserError(
                f"--{key}: this option of SpeechBrain has no effect here; the "
                "YAML says how to train (see --help)"
            )
        elif equals:
            options[key] = value
        elif key in _FLAGS:
            options[key] = True
        elif rest and not rest[0].startswith("--"):
            options[key] = rest.pop(0)
        else:
            raise UserError(f"{word}: has no value; write {word}=VALUE")
    return files, options


def _check_options(options: dict[str, str | bool]) -> None:
    for name, value in options.items():
        if name in _FLAGS and value is not True:
            raise UserError(f"--{name}={value}: takes no value; leave it out")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UserError(
                f"--{name}={value}: choose from {', '.join(_CHOICES[name])}"
            )
    try:
        torch.empty(1, device=options.get("device", "cpu"))
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device={options['device']}: cannot be used on this machine; "
            "use cpu"
        ) from error


def _override(key: str, value: str | bool) -> str:
    """Check one ``--key=value`` for itself, so that a fault is named by it."""
    line = f"{key}: {_quote(key, value)}"
    try:
        found = ruamel.yaml.YAML().load(line)
    except ruamel.yaml.error.YAMLError as error:
        raise UserError(
            f"--{key}={value}: is not YAML; write for example --steps=100 or "
            "--data='{max_seconds: 20}', and a space behind a !tag"
        ) from error
    if not isinstance(found, dict) or list(found) != [key]:
        raise UserError(f"--{key}={value}: is no key with a value of YAML")
    return line


def _quote(key: str, value: str) -> str:
    """Make YAML of a text's value; other values stay as they are."""
    kind = _TEXTS.get((key,), "list")
    null = value == "null" and kind.endswith("None")
    section = key in _SECTIONS and value.startswith(("{", "!"))
    if kind.startswith("list") or not value or null or section:
        return value
    return json.dumps(value, ensure_ascii=False)


def load_run(
    path: str | os.PathLike, overrides: str = ""
) -> RunConfig | LmRunConfig:
    """Read the YAML of a run, with overrides as YAML text."""
    values, where = _read_yaml(path, overrides), str(path)
    if values.get("task") == LM_TASK:
        return parse(LmRunConfig, values, where)
    has_bundle = values.get("task") in BUNDLE_TASKS
    model = values.pop("model", {})  # its sizes may be those of init_from
    config = parse(EvaluationConfig if has_bundle else RunConfig, values, where)
    if config.init_from is not None and isinstance(model, Mapping):
        model = with_imported_sizes(
            model, config.init_from, config.output_folder
        )
    config = replace(config, model=parse(ModelConfig, model, f"{where}: model"))
    layers = config.model.encoder_layers
    require_count(f"{where}: reinit_layers", config.reinit_layers, 0, layers)
    return config


def _read_yaml(path: str | os.PathLike, overrides: str = "") -> dict:
    """Read the keys of any run's YAML, with those of the command line."""
    text = None
    try:
        text = resolve_yaml(path, overrides)
        return load_hyperpyyaml(text)
    except UserError as error:
        if text is None:
            raise  # it names the file
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # HyperPyYAML raises whatever a tag raised
        named = isinstance(error, OSError) or not error.args
        reason = str(error) if named else ": ".join(map(str, error.args))
        raise UserError(
            f"{path}: a value cannot be made ({' '.join(reason.split())}); "
            "correct it"
        ) from error


def resolve_yaml(path: str | os.PathLike, overrides: str = "") -> str:
    """Write out a run's YAML: files put in, overridden, references resolved.

    Raises HyperPyYAML's error for a missing reference, UserError for other
    faults of the YAML and the overrides.
    """
    keys = _read_file(Path(path))
    given = ruamel.yaml.YAML().load(overrides) or {}
    if given:
        _keep_texts(given, ruamel.yaml.YAML().compose(overrides))
    for key, node in keys.items():
        if _tag(node) == "!PLACEHOLDER" and key not in given:
            raise UserError(
                f"{path}: key {key!r} is left to you; add --{key}=VALUE"
            )
    _put_in(keys, given, Path(path))
    file = io.StringIO()
    ruamel.yaml.YAML().dump(keys, file)
    return resolve_references(file.getvalue()).read()


def _read_file(path: Path, place: tuple[str, ...] = ()) -> CommentedMap:
    """Read a YAML and its includes; ``place`` is where its keys belong."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; name one of the recipe's YAMLs")
    try:
        found = ruamel.yaml.YAML().load(path)
        nodes = ruamel.yaml.YAML().compose(path)
    except ruamel.yaml.error.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise UserError(
            f"{path}:{line}: is not YAML ({error.problem}); correct this line"
        ) from error
    except (ruamel.yaml.error.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML; name a recipe's YAML") from error
    if not (isinstance(found, dict) or _tag(found).startswith(_INCLUDE)):
        raise UserError(f"{path}: holds no keys; name a recipe's YAML")
    _keep_texts(found, nodes, place)
    return _merged(None, found, path, place)


def _put_in(
    keys: CommentedMap, given: dict, path: Path, place: tuple[str, ...] = ()
) -> None:
    """Override keys by others, section by section."""
    for key, value in given.items():
        inside = (*place, key)
        keys[key] = _merged(keys.get(key), value, path, inside)


def _merged(node: Any, value: Any, path: Path, place: tuple[str, ...]) -> Any:
    """Put a value in the place of a node; keys without a tag go below it.

    ``path`` is the file that holds the value: files that it includes are
    relative to that.
    """
    tag = _tag(value)
    if tag.startswith(_INCLUDE):
        included = path.parent / tag.removeprefix(_INCLUDE)
        if not included.is_file():
            raise UserError(
                f"{path}: includes {included}, which is not there; correct "
                "the path"
            )
        node = _read_file(included, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            value[index] = _merged(None, item, path, place)
        return value
    elif not isinstance(value, dict):
        return value
    elif tag or not isinstance(node, dict):
        tag = tag or _tag(node)
        if not tag.startswith(("!n", "!apply:")) and node is not None:
            raise UserError(
                f"{path}: {'.'.join(place)} is one value there, so it has no "
                "keys to give; give a value"
            )
        node = CommentedMap()
        if tag:
            node.yaml_set_ctag(ruamel.yaml.Tag(suffix=tag))
    if isinstance(value, dict):
        _put_in(node, value, path, place)
    return node


def _keep_texts(
    keys: dict, node: MappingNode, place: tuple[str, ...] = ()
) -> None:
    """Put texts back as written: YAML reads 2024-11-29, 007 and 1e3 else."""
    for name, value in ((key.value, value) for key, value in node.value):
        inside = (*place, name)
        if isinstance(value, MappingNode):
            _keep_texts(keys[name], value, inside)
        elif inside in _TEXTS and isinstance(value, SequenceNode):
            for index, item in enumerate(value.value):
                keys[name][index] = _as_written(keys[name][index], item)
        elif inside in _TEXTS:
            keys[name] = _as_written(keys[name], value)


def _as_written(value: object, node: Node) -> object:
    """Give a plain scalar's text where YAML made something else of it."""
    scalar = isinstance(node, ScalarNode) and not _tag(value)
    if value is None or isinstance(value, str | bool) or not scalar:
        return value
    return SingleQuotedScalarString(node.value)


def _tag(node: object) -> str:
    """Give a node's tag, such as ``!new:CLASS``; empty where it has none."""
    return getattr(getattr(node, "tag", None), "value", None) or ""
