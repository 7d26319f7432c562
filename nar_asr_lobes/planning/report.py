"""A plan as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from nar_asr_lobes.planning.findings import findings
from nar_asr_lobes.planning.plan import FLAC_BYTES, Plan


def describe_plan(plan: Plan, days: float) -> str:
    """Write a plan and what does not fit.

    Arguments
    ---------
    plan : Plan
        The run.
    days : float
        Days that the machine is there for it.
    """
    lines = [
        f"{name:13}{text}"
        for part in (_run, _machine, _network, _cost)
        for name, text in part(plan)
    ]
    warnings = [f"warning: {sentence}" for sentence in findings(plan, days)]
    return "\n".join([*lines, *warnings])


def _run(plan: Plan) -> Iterator[tuple[str, str]]:
    config, model = plan.config, plan.model
    operations = model.operations(plan.corpus.mean_seconds)
    rate = operations.total / plan.corpus.mean_seconds
    yield (
        "model",
        f"{model.parameters / 1e6:,.0f} M parameters, "
        f"{model.trained / 1e6:,.0f} M trained; {rate / 1e9:,.1f} GFLOP per "
        "second of audio, forward and backward",
    )
    yield (
        "steps",
        f"{config.steps:,} of {config.global_batch:,} utterances "
        f"({plan.step_hours:.2f} h), {plan.warmup:,.0f} of them warm-up",
    )
    yield (
        "data",
        f"{plan.hours_heard:,.0f} h heard, {plan.passes:.1f} passes over "
        f"{plan.corpus.hours:,.0f} h, {plan.hours_per_million:,.0f} h for each "
        "million parameters",
    )
    yield (
        "micro-batch",
        f"{plan.micro_batches} a step on each of {plan.cluster.gpus} GPUs, at "
        f"most {plan.batch_seconds:.0f} s of audio",
    )


def _machine(plan: Plan) -> Iterator[tuple[str, str]]:
    parts = ", ".join(
        f"{name} {size / 1e9:.1f}" for name, size in vars(plan.memory).items()
    )
    yield (
        "memory",
        f"{plan.memory.total / 1e9:.1f} of "
        f"{plan.cluster.device.memory / 1e9:.0f} GB a GPU: {parts}",
    )
    bytes_read = plan.audio_rate * FLAC_BYTES
    yield (
        "loader",
        f"{plan.loader_cores:.2f} cores a GPU, {bytes_read / 1e6:.1f} MB/s a "
        f"GPU, {bytes_read * plan.cluster.gpus / 1e9:.2f} GB/s in all (FLAC)",
    )
    kept = plan.config.logging.keep_checkpoints + 2  # the best, and a new one
    yield (
        "checkpoint",
        f"{plan.checkpoint / 1e9:.1f} GB, {plan.checkpoint_seconds:.1f} s "
        f"every {plan.config.logging.checkpoint_interval:,} steps; "
        f"{kept * plan.checkpoint / 1e9:.0f} GB of disk",
    )


def _network(plan: Plan) -> Iterator[tuple[str, str]]:
    step, network = plan.step, plan.step.network
    hidden = 1 - network.exposed / network.all if network.all else 1.0
    yield (
        "network",
        f"{1000 * network.all:.1f} ms of sums a step, {100 * hidden:.0f} % "
        "beside the backward pass",
    )
    yield (
        "step",
        f"{1000 * step.total:.1f} ms: micro-batches {1000 * step.compute:.1f}, "
        f"optimiser {1000 * step.fixed:.1f}, network "
        f"{1000 * network.added:.1f}, waiting "
        f"{1000 * step.straggling:.1f}; weak scaling "
        f"{100 * step.efficiency:.1f} %, utilisation "
        f"{100 * plan.utilisation:.1f} %",
    )


def _cost(plan: Plan) -> Iterator[tuple[str, str]]:
    cluster, hours = plan.cluster, plan.gpu_hours
    yield (
        "time",
        f"{24 * plan.days:,.1f} h = {plan.days:.2f} days, "
        f"{hours:,.0f} GPU-hours",
    )
    yield (
        "cost",
        f"{hours * cluster.watts / 1e6:,.1f} MWh at {cluster.watts:g} W a GPU, "
        f"{hours * cluster.price:,.0f} at {cluster.price:g} a GPU-hour",
    )
