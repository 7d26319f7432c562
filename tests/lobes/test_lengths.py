import pytest
import torch
from torch import nn

from nar_asr_lobes.lobes.lengths import (
    absolute_lengths,
    conv_output_lengths,
    valid_mask,
)


@pytest.mark.parametrize("size", [1, 7, 16000, 479_999, 8_000_003])
def test_a_count_survives_the_relative_length(size):
    near = torch.arange(max(0, size - 2000), size + 1)
    spread = torch.linspace(0, size, 1000).long()
    counts = torch.cat([near, spread])
    assert torch.equal(absolute_lengths(counts / size, size), counts)


@pytest.mark.parametrize(
    ("kernel", "stride"), [(1, 1), (2, 2), (3, 2), (5, 2), (10, 4), (4, 7)]
)
def test_conv_output_lengths_are_those_of_a_convolution(kernel, stride):
    conv = nn.Conv1d(1, 1, kernel, stride, device="meta")
    sizes = torch.arange(kernel, 60)
    real = [conv(torch.empty(1, 1, n, device="meta")).shape[-1] for n in sizes]
    assert conv_output_lengths(sizes, kernel, stride).tolist() == real
    below = conv_output_lengths(torch.arange(kernel), kernel, stride)
    assert below.tolist() == [0] * kernel


def test_valid_mask_counts_its_lengths():
    lengths = torch.tensor([0, 3, 5])
    mask = valid_mask(lengths, 5)
    assert torch.equal(mask.sum(1), lengths)
    assert torch.equal(mask, mask.sort(1, descending=True).values)
