"""The command line that all recipes share.

FILE.yaml --key=value … -> the file, SpeechBrain's run options, overrides
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields

import ruamel.yaml
import torch
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.config import SECTIONS, RunConfig
from nar_asr_lobes.training.fields import text_fields
from nar_asr_lobes.training.lm.config import LmRunConfig

HELP = """\
usage: python train.py hparams/FILE.yaml [--KEY=VALUE ...] [OPTION ...]
       torchrun --nproc_per_node=8 train.py hparams/FILE.yaml ...

--KEY=VALUE overrides a key of the YAML; a path or text is taken as it is, any
other VALUE is YAML too:
  --steps=100
  --data='{max_seconds: 20, workers: 2}'             keys inside a section
  --model='{dropout: 0.2}'                           or of a file it includes
  --model='!include:../../../hparams/model/tiny.yaml'  a whole section

Options of SpeechBrain:
  --device=cpu|cuda            where to run; a GPU when there is one
  --precision=fp32|bf16        of the training, instead of the YAML's
  --eval_precision=fp32|bf16   of the validation
  --distributed_backend=nccl|gloo
  --noprogressbar
  --find_unused_parameters
  --compile                    fuse the layers' arithmetic, for a GPU; takes a
                               minute at the start
  --compile_mode=default|reduce-overhead|max-autotune
"""

_FLAGS = ("noprogressbar", "find_unused_parameters", "compile")
_CHOICES = {
    "precision": ("fp32", "bf16"),
    "eval_precision": ("fp32", "bf16"),
    "distributed_backend": ("nccl", "gloo"),
    "compile_mode": ("default", "reduce-overhead", "max-autotune"),
}
_OPTIONS = (*_FLAGS, *_CHOICES, "device")
_TEXTS = {
    name: kind
    for config in (RunConfig, LmRunConfig)
    for name, kind in text_fields(config).items()
    if not kind.startswith("list")
}
_WITHOUT_EFFECT = {field.name for field in fields(RunOptions)} - {*_OPTIONS}


def parse_arguments(
    arguments: Sequence[str],
) -> tuple[str, RunOptions, str]:
    """Split a command line; without a GPU, default to CPU and gloo.

    Arguments
    ---------
    arguments : sequence of str
        The YAML file, ``--key=value`` or ``--key value``, and flags.

    Returns
    -------
    path : str
        The YAML.
    run_opts : RunOptions
        SpeechBrain's own options, as far as they have an effect here.
    overrides : str
        YAML text of the other ``--key=value``; the last of equal keys.

    Raises
    ------
    UserError
        For no YAML file or two, an option without its value or with a wrong
        one, and an option of SpeechBrain that would do nothing.

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
        run_options = {
            "device": "cpu",
            "distributed_backend": "gloo",
            **run_options,
        }
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
            f"--{key}={value}: is not YAML; write for example "
            "--steps=100 or --data='{max_seconds: 20}'"
        ) from error
    if not isinstance(found, dict) or list(found) != [key]:
        raise UserError(f"--{key}={value}: is no key with a value of YAML")
    return line


def _quote(key: str, value: str) -> str:
    """Make YAML of a text's value; what is YAML stays as it is."""
    null = value == "null" and _TEXTS.get(key, "").endswith("None")
    section = key in SECTIONS and value.startswith(("{", "!"))
    if key not in _TEXTS or not value or null or section:
        return value
    return json.dumps(value, ensure_ascii=False)
