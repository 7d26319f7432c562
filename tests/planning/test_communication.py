"""Buckets against DDP's own; times of sums in worlds easily counted."""

import pytest
import torch
import torch.distributed as dist

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.planning.cluster import Cluster
from nar_asr_lobes.planning.communication import (
    all_reduce_seconds,
    make_buckets,
    overlap,
)
from nar_asr_lobes.planning.cost import PretrainModel

EXACT = {"efficiency": 1.0, "hop_us": 0.0, "interference": 0.0}


@pytest.mark.parametrize("width", [64, 1024])
def test_buckets_are_those_of_ddp(width):
    sizes = ModelConfig(d_model=width, ffn_dim=2 * width, encoder_layers=3)
    tensors = PretrainModel(sizes, 4, 1024, 0.4).trained_tensors()
    weights = [torch.empty(x, device="meta") for x in reversed(tensors)]
    indices, _ = dist._compute_bucket_assignment_by_size(
        weights, [2**20, 25 * 2**20]
    )
    expected = [sum(weights[i].nbytes for i in group) for group in indices]
    assert make_buckets(tensors) == expected
    assert sum(expected) == 4 * sum(tensors)


def test_a_ring_sends_all_but_a_share_twice():
    cluster = Cluster(gpus=64, nics=8, nic_gbits=400, **EXACT)
    ring = 2 * 63 / 64 * 8e9 / 400e9
    assert all_reduce_seconds(cluster, 8e9) == pytest.approx(ring)
    alone = Cluster(gpus=1, **EXACT)
    assert all_reduce_seconds(alone, 8e9) == 0
    node = Cluster(gpus=8, **EXACT)  # NVLink
    assert all_reduce_seconds(node, 8e9) == pytest.approx(
        2 * 7 / 8 * 8e9 / 450e9
    )


def test_a_small_sum_takes_the_way_of_fewer_hops():
    cluster = Cluster(gpus=64, hop_us=5.0)
    assert all_reduce_seconds(cluster, 64) == pytest.approx(2 * 10 * 5e-6, 0.01)


@pytest.mark.parametrize(("backward", "exposed"), [(1.0, 0.1), (0.1, 0.91)])
def test_sums_hide_behind_the_backward_pass(backward, exposed):
    """Ten equal buckets of 0.1 s each; ready at tenths of the pass."""
    cluster = Cluster(gpus=2, gpus_per_node=1, nics=1, nic_gbits=8, **EXACT)
    tensors = [25_000_000] * 10  # 100 MB, 1 GB/s
    found = overlap(cluster, tensors, backward)
    assert found.all == pytest.approx(1.0)
    assert found.exposed == pytest.approx(exposed)


def test_bf16_halves_the_time_on_the_network():
    tensors = [25_000_000] * 4
    full, half = (
        overlap(Cluster(compression=x, hop_us=0.0), tensors, 0.1).all
        for x in (4, 2)
    )
    assert half == pytest.approx(full / 2)
