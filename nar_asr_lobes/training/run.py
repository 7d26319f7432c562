"""The one run that all recipes share.

YAML -> data -> brain -> fit -> (language model -> evaluation -> bundle)
YAML -> data -> bundle -> evaluation, or labels
YAML -> texts -> brain -> fit -> a neural language model

A recipe's ``train.py`` gives the command line and its ``prepare``; the
stages are in ``_run_recipe`` below, a line each.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import speechbrain as sb
import torch
from speechbrain.utils.distributed import (
    ddp_broadcast,
    if_main_process,
    infer_device,
)
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.distributed import on_main
from nar_asr_lobes.errors import UserError, escape_unprintable
from nar_asr_lobes.storage import cannot_write, lock_folder, write_text
from nar_asr_lobes.training.build import check_space, make_brain
from nar_asr_lobes.training.config import (
    BUNDLE_TASKS,
    LmRunConfig,
    RunConfig,
)
from nar_asr_lobes.training.data.loaders import ValidationSet, train_loader
from nar_asr_lobes.training.data.prepare import Prepare, prepare_data
from nar_asr_lobes.training.data.tokenizer import run_tokenizer
from nar_asr_lobes.training.evaluation import evaluate_bundle, label_split
from nar_asr_lobes.training.finish import check_finish, finish
from nar_asr_lobes.training.hparams import (
    load_run,
    parse_arguments,
    resolve_yaml,
)
from nar_asr_lobes.training.init_from import check_start
from nar_asr_lobes.training.lm.data import (
    PrepareTexts,
    TextValidation,
    prepare_texts,
    text_loader,
)
from nar_asr_lobes.training.lm.run import finish_lm, make_lm_brain
from nar_asr_lobes.training.processes.launch import (
    require_same_start,
    start_processes,
)
from nar_asr_lobes.training.processes.signals import Interrupted, handled
from nar_asr_lobes.training.progress import (
    Timer,
    plain_console,
    quiet_libraries,
    tell_lost_lines,
)

_HELP = """\
usage: python train.py hparams/FILE.yaml [--KEY=VALUE ...] [OPTION ...]
       torchrun --nproc_per_node=8 -- train.py hparams/FILE.yaml ...
       srun python train.py hparams/FILE.yaml ...

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


DataWork = Callable[[RunConfig | LmRunConfig, Prepare | PrepareTexts], None]
"""Work on the data of a recipe's run, such as ``prepare_run``."""


def main(
    arguments: Sequence[str],
    prepare: Prepare | PrepareTexts,
    work: DataWork | None = None,
) -> int:
    """Run a recipe with its command line; ``prepare`` is the recipe's parser.

    With ``work``, do that with its data instead of training. Returns 0; 2
    after a user's mistake, which is printed in one sentence; 130 after Ctrl-C,
    143 after SIGTERM and 138 after SIGUSR1, when a training has saved its step.

    Example
    -------
    >>> main(["missing.yaml", "--device=cpu"], prepare=dict)
    2
    """
    escape_unprintable()
    if {"-h", "--help"} & set(arguments):
        print(_HELP)
        return 0
    try:
        with handled():
            _run_recipe(arguments, prepare, work)
    except UserError as error:
        # One that a loader's worker sends has its stack before the message.
        message = str(error).splitlines()[-1]
        message = re.sub(r"^[\w.]+Error: ", "", message)
        print(f"error: {message}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        if if_main_process():
            print(stop, file=sys.stderr, flush=True)
        if torch.distributed.is_initialized() and not stop.saved:
            os._exit(stop.status)  # the others may never come to the end
        return stop.status
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _run_recipe(
    arguments: Sequence[str],
    prepare: Prepare | PrepareTexts,
    work: DataWork | None,
) -> None:
    """Run the stages of the YAML's task, or work on its data alone."""
    path, run_opts, overrides = parse_arguments(arguments)
    config = load_run(path, overrides)
    start_processes(run_opts)
    require_same_start(resolve_yaml(path, overrides), run_opts)
    with ExitStack() as held:  # by the main process
        on_main(lambda: held.enter_context(lock_folder(config.output_folder)))
        _make_output_folder(config, path, overrides)
        if work is None:
            _run_stages(config, prepare, run_opts)
        else:
            with Timer("prepare", {}):
                on_main(lambda: work(config, prepare))


def prepare_run(
    config: RunConfig | LmRunConfig,
    prepare: Prepare | PrepareTexts,
    processes: int | None = None,
) -> None:
    """Prepare the data of a run; call it on one process."""
    if isinstance(config, LmRunConfig):
        prepare_texts(config, prepare)
    else:
        prepare_data(config, prepare, processes)


def _run_stages(
    config: RunConfig | LmRunConfig,
    prepare: Prepare | PrepareTexts,
    run_opts: RunOptions,
) -> None:
    """Do the stages of a run in its output folder."""
    seconds: dict[str, float] = {}
    if isinstance(config, LmRunConfig):
        _train_lm(config, prepare, run_opts, seconds)
        return
    with Timer("prepare", seconds):
        on_main(lambda: check_start(config.init_from, config.output_folder))
        on_main(lambda: prepare_run(config, prepare))
        on_main(lambda: check_finish(config))
    if config.task in BUNDLE_TASKS:
        device = run_opts.device or infer_device()
        work = label_split if config.task == "label" else evaluate_bundle
        with Timer(config.task, seconds):
            on_main(lambda: work(config, device))
        return
    tokenizer = run_tokenizer(config) if config.task == "finetune" else None
    brain = make_brain(config, tokenizer, run_opts)
    on_main(lambda: check_space(config, brain.model))
    with Timer(config.task, seconds):
        brain.fit(
            train_loader(config, tokenizer), ValidationSet(config, tokenizer)
        )
    if tokenizer is not None:
        brain.load_best()
    if if_main_process():
        try:
            if tokenizer is not None:
                finish(config, brain.model, tokenizer, brain.device, seconds)
        finally:
            _write_seconds(config, seconds)


def _train_lm(
    config: LmRunConfig,
    prepare: PrepareTexts,
    run_opts: RunOptions,
    seconds: dict[str, float],
) -> None:
    """Do the stages of a neural language model."""
    with Timer("prepare", seconds):
        on_main(lambda: prepare_run(config, prepare))
    brain = make_lm_brain(config, run_opts)
    on_main(lambda: check_space(config, brain.model))
    with Timer(config.task, seconds):
        brain.fit(text_loader(config), TextValidation(config))
    brain.load_best()
    if if_main_process():
        with Timer("evaluate", seconds):
            finish_lm(config, brain.model)
        _write_seconds(config, seconds)


def _write_seconds(
    config: RunConfig | LmRunConfig, seconds: dict[str, float]
) -> None:
    """Write the seconds of each stage."""
    times = Path(config.output_folder) / "seconds.json"
    write_text(times, json.dumps(seconds, indent=1))


def _make_output_folder(
    config: RunConfig | LmRunConfig, path: str, overrides: str
) -> None:
    """Make it, with the log, the resolved YAML and the versions in it."""
    message = None
    try:
        quiet_libraries()
        sb.create_experiment_directory(config.output_folder)
        plain_console()
        if if_main_process():
            copy = Path(config.output_folder) / "hyperparams.yaml"
            text = f"# {Path(path).absolute()}\n{resolve_yaml(path, overrides)}"
            write_text(copy, text)
        tell_lost_lines()
    except (OSError, UserError) as error:  # on the main process alone
        if isinstance(error, OSError):
            error = cannot_write(config.output_folder, error)
        message = str(error)
    message = ddp_broadcast(message)
    if message is not None:
        raise UserError(message)
