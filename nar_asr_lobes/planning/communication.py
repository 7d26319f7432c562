"""Sums of gradients over the ranks, beside the backward pass.

tensors -> buckets in the order of the backward pass -> time of each all-reduce
        -> the part that is left when the backward pass has ended

DDP sums a bucket as soon as its last gradient is there, one after another, in
the last micro-batch of a step only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nar_asr_lobes.planning.cluster import Cluster

_FIRST, _CAP = 2**20, 25 * 2**20  # DDP's bytes of the first bucket, of others
_SMALL = 1  # message of counts, losses and flags in a step


def make_buckets(tensors: Sequence[int]) -> list[int]:
    """Join gradients of so many elements in DDP's buckets, in bytes.

    Example
    -------
    >>> make_buckets([3_000_000, 7_000_000, 100, 300_000])
    [1200000, 28000400, 12000000]
    """
    buckets, size, cap = [], 0, _FIRST
    for elements in reversed(tensors):
        size += 4 * elements
        if size >= cap:
            buckets.append(size)
            size, cap = 0, _CAP
    return buckets + [size] * (size > 0)


def all_reduce_seconds(cluster: Cluster, size: float) -> float:
    """Give the time of a sum of ``size`` bytes on each rank.

    The faster of a ring and a tree, as NCCL chooses. All cards of a node carry
    parts of one sum: the rate is that of a node, or of a GPU's links within
    one.
    """
    ranks = cluster.gpus
    if ranks == 1:
        return 0.0
    rate = cluster.device.link
    if cluster.nodes > 1:
        rate = min(rate, cluster.nics * cluster.nic_gbits * 1e9 / 8)
    rate *= cluster.efficiency
    hop = cluster.hop_us * 1e-6
    ring = 2 * (ranks - 1) * (size / ranks / rate + hop)
    within = min(ranks, cluster.gpus_per_node)
    depth = math.ceil(math.log2(cluster.nodes)) + within - 1
    return min(ring, 2 * (size / rate + depth * hop))


@dataclass(frozen=True)
class Overlap:
    """Seconds of a step's sums of gradients.

    ``all`` of them on the network; ``exposed``, after the backward pass;
    ``small``, of the other sums; ``slowed``, by which the network slows the
    backward pass.
    """

    all: float
    exposed: float
    small: float
    slowed: float

    @property
    def added(self) -> float:
        """Seconds by which a step is longer than on one GPU."""
        return self.exposed + self.small + self.slowed


def overlap(
    cluster: Cluster, tensors: Sequence[int], backward: float
) -> Overlap:
    """Lay the sums of gradients beside a backward pass.

    Arguments
    ---------
    cluster : Cluster
        The GPUs and their network.
    tensors : sequence of int
        Elements of the gradients, in the order of the model.
    backward : float
        Seconds of a micro-batch's backward pass. A bucket is ready after the
        share of it that its parameters and those behind it have of all.

    Returns
    -------
    Overlap

    Example
    -------
    >>> found = overlap(Cluster(), [25_000_000] * 40, backward=0.05)
    >>> f"{1000 * found.all:.1f} ms, {1000 * found.exposed:.1f} ms after"
    '29.0 ms, 0.7 ms after'
    """
    buckets = make_buckets(tensors)
    end = busy = ready = 0.0
    for size in buckets:
        ready += backward * size / sum(buckets)
        seconds = all_reduce_seconds(cluster, size * cluster.compression / 4)
        end = max(end, ready) + seconds
        busy += seconds
    exposed = max(0.0, end - backward)
    return Overlap(
        busy,
        exposed,
        _SMALL * all_reduce_seconds(cluster, 64),
        cluster.interference * (busy - exposed),
    )
