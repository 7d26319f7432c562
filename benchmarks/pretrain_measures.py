"""How a pre-training step is measured: operations, batch size, time, memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch
from pretrain_models import Model, Setting
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

SIZES = (16, 32, 64, 128, 256, 512)
GAIN = 1.02  # a batch twice as large is taken if so much faster
TRIAL_STEPS, ROUND_SECONDS = 4, 2.0
_PRODUCT = {"cpu": 2048, "cuda": 8192}


def clock(device: str) -> float:
    """Processor time on a CPU; on a GPU the time when it has finished."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _conv_backward(
    grad, x, weight, bias, stride, padding, dilation, transposed, *rest, **more
) -> int:
    """As much as forward for each gradient asked for.

    torch's own formula multiplies by the number of groups.
    """
    output_mask = rest[-1]
    forward = conv_flop_count(x, weight, grad, transposed=transposed)
    return forward * (output_mask[0] + output_mask[1])


def _attention(query, key, value, *rest, **more) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad, query, key, value, *rest, **more) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


_aten = torch.ops.aten
FORMULAS = {
    _aten.convolution_backward: _conv_backward,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward
    ),
}


def matmul_rate(device: str, precision: str) -> float:
    """Operations a second of one large matrix product."""
    size = _PRODUCT[device]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    repeats = 3 if device == "cpu" else 20
    start = clock(device)
    for _ in range(repeats):
        a @ b
    return repeats * 2 * size**3 / (clock(device) - start)


class Contender:
    """A model with its batch size and the times of its rounds.

    Arguments
    ---------
    maker : type
        Of the model.
    setting : Setting
        Data, device and precision.
    size : int, optional
        Utterances of a batch; without it the fastest is searched.

    ``flops`` are counted operations for a second of audio, forward and
    backward; ``memory`` the most bytes that were allocated, 0 on a CPU.
    """

    def __init__(self, maker: type[Model], setting: Setting, size: int | None):
        self.setting, device = setting, setting.device
        before = 0
        if device == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        self.model = maker(setting)
        self.rounds: list[float] = []
        self.model.count_only()
        self.flops = self._count()
        self.model.ready()
        self.tried: dict[int, float] = {}
        self.size = size or self._fastest()
        self.batches = self.model.batches(self.size, setting.workers)
        self.step_seconds = self._run(2)[1] / 2  # the first ones allocate
        self.memory = 0
        if device == "cuda":
            self.memory = torch.cuda.max_memory_allocated() - before
            torch.cuda.empty_cache()

    def _count(self) -> float:
        seconds, batch = next(self.model.batches(1, 0))
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            self.model.step(batch)
        return counter.get_total_flops() / seconds

    def _fastest(self) -> int:
        """Double the batch until it is too large or no faster."""
        for size in SIZES:
            try:
                self.tried[size] = self._trial(size)
            except torch.OutOfMemoryError:
                if not self.tried:
                    raise
                break
            if self.tried[size] < GAIN * self.tried.get(size // 2, 0.0):
                break
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return max(self.tried, key=self.tried.get)

    def _trial(self, size: int) -> float:
        seconds, batch = next(self.model.batches(size, 0))
        self.model.step(batch)
        start = clock(self.setting.device)
        for _ in range(TRIAL_STEPS):
            self.model.step(batch)
        return TRIAL_STEPS * seconds / (clock(self.setting.device) - start)

    def _run(self, steps: int) -> tuple[float, float]:
        """Make some steps; give seconds of audio and of time."""
        audio, start = 0.0, clock(self.setting.device)
        for _ in range(steps):
            seconds, batch = next(self.batches)
            self.model.step(batch)
            audio += seconds
        return audio, clock(self.setting.device) - start

    def round(self) -> None:
        """Time some steps, after those whose batches were made in advance."""
        workers = self.setting.workers
        if workers:
            ahead = 2 * workers
            self.step_seconds = self._run(ahead)[1] / ahead
        steps = max(1, round(ROUND_SECONDS / self.step_seconds))
        if self.setting.device == "cpu":
            steps = 1
        audio, seconds = self._run(steps)
        self.rounds.append(audio / seconds)

    def speed(self) -> float:
        """Median of seconds of audio a second."""
        return median(self.rounds)

    def spread(self) -> str:
        """Slowest and fastest round."""
        return f"rounds {min(self.rounds):,.2f} to {max(self.rounds):,.2f}"

    def describe(self) -> str:
        """Name, parameters, operations, batch size, memory."""
        trained = self.model.trained().parameters()
        count = sum(p.numel() for p in trained if p.requires_grad)
        tried = ", ".join(f"{n}: {s:,.0f}" for n, s in self.tried.items())
        return (
            f"{self.model.name:14} {count / 1e6:.1f} M parameters, "
            f"{self.flops / 1e9:.1f} GFLOP for a second of audio, batch "
            f"{self.size}"
            + (f" (tried {tried})" if tried else "")
            + (f", {self.memory / 2**30:.1f} GiB" if self.memory else "")
        )


def take_turns(contenders: Sequence[Contender], rounds: int) -> float:
    """Time all rounds; give the best rate of the matrix product."""
    setting = contenders[0].setting
    rates = []
    matmul_rate(setting.device, setting.precision)
    for _ in range(rounds):
        rates.append(matmul_rate(setting.device, setting.precision))
        for contender in contenders:
            contender.round()
            if setting.device == "cuda":
                torch.cuda.empty_cache()
    return max(rates)


def profile(contender: Contender, steps: int = 3, rows: int = 45) -> None:
    """Print what takes the time of some steps."""
    activity = torch.profiler.ProfilerActivity
    device = contender.setting.device
    print(contender.describe())
    contender._run(2 * contender.setting.workers + 1)
    activities = [activity.CPU]
    if device == "cuda":
        activities.append(activity.CUDA)
    with torch.profiler.profile(activities=activities) as found:
        audio, seconds = contender._run(steps)
    events = found.key_averages()
    key = f"self_{device}_time_total"
    print(events.table(key, rows, max_name_column_width=90))
    where = "device" if device == "cuda" else "cpu"
    busy = sum(getattr(event, f"self_{where}_time_total") for event in events)
    print(
        f"{steps} steps: {1000 * seconds:.0f} ms, of them {busy / 1000:.0f} ms "
        f"in these; {audio / seconds:,.1f} s of audio a second"
    )
