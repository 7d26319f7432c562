"""Sentences about a plan that does not fit its machine, time or evidence."""

from __future__ import annotations

from collections.abc import Iterator

from nar_asr_lobes.planning.plan import Plan

# Hours heard for each million parameters: of wav2vec 2.0 Base, 9,600 h were of
# little use for an hour of labels, 16,700 h halved its errors (docs/scale.md).
_LEAST_HOURS = 100
_KNOWN_PASSES = 650  # of wav2vec 2.0 Base over LibriSpeech
_LARGE = 300e6, 3e-4  # parameters and peak rate of wav2vec 2.0 Large


def findings(plan: Plan, days: float) -> Iterator[str]:
    """Yield a sentence for each thing that does not fit.

    Arguments
    ---------
    plan : Plan
        The run.
    days : float
        Days that the machine is there for it.
    """
    yield from _machine(plan)
    yield from _time(plan, days)
    yield from _training(plan)


def _machine(plan: Plan) -> Iterator[str]:
    cluster, memory = plan.cluster, plan.memory
    if memory.total > cluster.device.memory:
        yield (
            f"memory: {memory.total / 1e9:.0f} GB do not fit into the "
            f"{cluster.device.memory / 1e9:.0f} GB of a {cluster.gpu}; lower "
            "data.max_batch_seconds or take a smaller model"
        )
    if plan.precision == "fp32":
        yield "precision fp32: rates are those of bf16; set precision: bf16"
    if plan.loader_cores > cluster.cores:
        yield (
            f"loader: {plan.loader_cores:.1f} cores a GPU are needed, "
            f"{cluster.cores:g} are there"
        )
    workers = plan.config.data.workers
    if plan.loader_cores > workers:
        yield (
            f"loader: {workers} workers a GPU read less than the "
            f"{plan.loader_cores:.1f} cores that the GPU takes; raise "
            "data.workers"
        )
    if plan.step.efficiency < 0.95:
        yield (
            f"network: weak scaling is {100 * plan.step.efficiency:.0f} %, "
            "below 95 %; optim.compress_gradients, more network cards or a "
            "larger global_batch raise it"
        )
    between = plan.config.logging.checkpoint_interval * plan.step.total
    if plan.checkpoint_seconds > 0.01 * between:
        yield (
            f"checkpoints: {plan.checkpoint_seconds:.0f} s in every "
            f"{between:.0f} s; raise logging.checkpoint_interval"
        )


def _time(plan: Plan, days: float) -> Iterator[str]:
    if plan.days > days:
        yield (
            f"time: {plan.days:.1f} days, more than the {days:g} there are; "
            "fewer steps, a smaller model or more GPUs"
        )
    elif plan.days < 0.5 * days:
        yield (
            f"time: {_duration(plan.days)}, {100 * plan.days / days:.1f} % of "
            f"the {days:g} days there are; fewer GPUs, more steps or a larger "
            "model would use them"
        )


def _training(plan: Plan) -> Iterator[str]:
    if plan.passes < 1:
        yield f"data: {plan.passes:.2f} passes leave a part of it unheard"
    if plan.passes > _KNOWN_PASSES:
        yield (
            f"data: {plan.passes:.0f} passes, more than in any published run "
            f"we know ({_KNOWN_PASSES}); more audio or a larger model"
        )
    heard = plan.hours_per_million
    if heard < _LEAST_HOURS:
        yield (
            f"training: {heard:.1f} h are heard for each million parameters; "
            f"no published run with fewer than {_LEAST_HOURS} was of use"
        )
    if plan.warmup < 1000:
        yield (
            f"warm-up: {plan.warmup:.0f} steps; below some 1,000 AdamW's "
            "second moments are not settled at the peak rate"
        )
    size, rate = _LARGE
    if plan.model.parameters > size and plan.config.peak_lr > rate:
        yield (
            f"peak_lr: {plan.config.peak_lr:g} for "
            f"{plan.model.parameters / 1e6:,.0f} M parameters; wav2vec 2.0 had "
            f"{rate:g} at 317 M, and larger models take less"
        )


def _duration(days: float) -> str:
    return f"{days:.1f} days" if days >= 2 else f"{24 * days:.1f} hours"
