"""``nar-asr plan YAML``: time, memory, network and cost of a pre-training."""

from __future__ import annotations

import argparse

# Name, kind, value where not given, help; fields of ``Cluster`` and ``Corpus``.
_CLUSTER = (
    ("gpus", int, 64, "processes of the run"),
    ("gpu", str, "H200", "H200, H100, B200, A100 or RTX4090"),
    ("gpus_per_node", int, 8, "GPUs of a node"),
    ("nics", int, 8, "network cards of a node"),
    ("nic_gbits", float, 400.0, "gigabits a second of each"),
    ("cores", float, 12.0, "processor cores for the loaders of a GPU"),
    ("disk", float, 2.0, "gigabytes a second of a checkpoint's disk"),
    ("watts", float, 1400.0, "of a GPU with its share of server and cooling"),
    ("price", float, 3.0, "of a GPU-hour"),
)
_CORPUS = (
    ("hours", float, 100_000.0, "of all audio"),
    ("mean_seconds", float, 12.3, "mean length of an utterance"),
    ("decoding", float, 3700.0, "seconds of audio that a core reads a second"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = "nar-asr plan YAML [--KEY=VALUE ...] [OPTION ...]"
    parser.add_argument(
        "yaml",
        metavar="YAML",
        help="of a pre-training; --KEY=VALUE overrides its keys as for its "
        "train.py",
    )
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument(
        "--utilisation",
        type=float,
        default=0.4,
        metavar="SHARE",
        help="of a GPU's rate of large bf16 matrix products (0.4)",
    )
    speed.add_argument(
        "--audio_seconds_per_second",
        type=float,
        metavar="X",
        help="measured on one GPU, forward and backward, instead",
    )
    speed.add_argument(
        "--measure",
        action="store_true",
        help="measure this machine instead, for half a minute or more",
    )
    for name, kind, value, text in (*_CLUSTER, *_CORPUS):
        parser.add_argument(
            f"--{name}", type=kind, default=value, help=f"{text} ({value})"
        )
    parser.add_argument(
        "--days",
        type=float,
        default=42.0,
        help="that the machine is there for this run (42)",
    )
    parser.set_defaults(overrides=[])


def run(arguments: argparse.Namespace) -> int:
    """Print the plan and its warnings."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.planning.cluster import Cluster
    from nar_asr_lobes.planning.cost import pretrain_model
    from nar_asr_lobes.planning.measure import measure_throughput
    from nar_asr_lobes.planning.plan import (
        Corpus,
        Throughput,
        make_plan,
        optimizer_seconds,
        stated_throughput,
    )
    from nar_asr_lobes.planning.report import describe_plan
    from nar_asr_lobes.schema import require_number
    from nar_asr_lobes.training.hparams import load_run, parse_arguments

    words = [arguments.yaml, *arguments.overrides]
    path, run_opts, overrides = parse_arguments(words)
    if not any(x.startswith("--data_folder") for x in words):
        overrides += "\ndata_folder: ."  # nothing is read from there
    config = load_run(path, overrides)
    model = pretrain_model(config)
    require_number("days", arguments.days, above=0)
    cluster = Cluster(
        **{x[0]: getattr(arguments, x[0]) for x in _CLUSTER},
        compression=2 if config.optim.compress_gradients else 4,
    )
    corpus = Corpus(**{x[0]: getattr(arguments, x[0]) for x in _CORPUS})
    measured, share = arguments.audio_seconds_per_second, arguments.utilisation
    if arguments.measure:
        speed = measure_throughput(
            config, cluster, corpus.mean_seconds, run_opts
        )
    elif measured is not None:
        require_number("audio_seconds_per_second", measured, above=0)
        speed = Throughput(measured, optimizer_seconds(model, cluster))
    else:
        require_number("utilisation", share, above=0, maximum=1)
        speed = stated_throughput(model, cluster, share, corpus.mean_seconds)
    plan = make_plan(config, cluster, corpus, speed)
    print(describe_plan(plan, arguments.days))
    return 0
