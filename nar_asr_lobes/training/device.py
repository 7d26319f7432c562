"""Keep a GPU busy: batches made ahead, layers compiled, gradients in DDP.

loader -> draws on the CPU -> copies on a stream of their own   (step n + 1)
                forward, backward, clipping, optimiser          (step n)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import (
    bf16_compress_hook,
)
from torch.nn.parallel import DistributedDataParallel

from nar_asr_lobes.lobes.config import STEMS

_END = object()
Item, Made = TypeVar("Item"), TypeVar("Made")


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )


def move(value: Any, device: torch.device | str) -> Any:
    """Copy the tensors of a dataclass, and of those inside it, to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if not is_dataclass(value):
        return value
    found = {f.name: getattr(value, f.name) for f in fields(value)}
    return replace(value, **{k: move(v, device) for k, v in found.items()})


def prefetch(
    items: Iterable[Item],
    make: Callable[[Item], Made],
    device: torch.device | str,
) -> Iterator[Made]:
    """Yield ``make(item)`` of each item, made while the one before is used."""
    items = iter(items)
    gpu = torch.device(device).type == "cuda"
    stream = torch.cuda.Stream(device) if gpu else None

    def following() -> tuple[Made, torch.cuda.Event | None]:
        item = next(items, _END)
        if item is _END:
            return _END, None
        with torch.cuda.stream(stream):
            return make(item), stream and stream.record_event()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(following)
        while True:
            made, copied = waiting.result()
            if made is _END:
                return
            waiting = pool.submit(following)
            if copied is not None:
                torch.cuda.current_stream(device).wait_event(copied)
            yield made


def with_next(items: Iterable[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Yield each item with the one after it, None after the last."""
    items = iter(items)
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        yield item, following
        item = following


def wrap_distributed(
    model: nn.Module,
    device: torch.device | str,
    find_unused: bool = False,
    compress: bool = False,
) -> DistributedDataParallel:
    """Let all processes add up a model's gradients.

    Its buffers are frozen, and the same on all ranks. ``compress`` sends the
    gradients as bfloat16.
    """
    gpu = torch.device(device).type == "cuda"
    wrapped = DistributedDataParallel(
        model,
        device_ids=[device] if gpu else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=find_unused,
    )
    if compress:
        wrapped.register_comm_hook(None, bf16_compress_hook)
    return wrapped


def compile_layers(model: nn.Module, mode: str = "default") -> None:
    """Compile a model's repeated layers and its stem, in place.

    Not the whole model: masks of any number of frames would cut it into many
    graphs. One graph serves all layers, and batches of any size above 1.
    """
    for part in model.modules():
        if getattr(part, "repeated", False):
            part.compile(mode=mode, dynamic=None)
        elif isinstance(part, tuple(STEMS.values())):
            part.features = torch.compile(
                part.features, mode=mode, dynamic=None
            )
