import itertools

import numpy as np
import pytest
import torch

from nar_asr_lobes.lobes.frontend import WaveformFrontend
from nar_asr_lobes.lobes.masking import (
    FrameMask,
    SpecAugment,
    draw_span_mask,
    draw_token_mask,
)
from nar_asr_lobes.lobes.stems import GaborStem, Wav2Vec2Stem

LENGTHS = [100, 61, 7, 2, 1]
CHANNELS = 80


def masked_by(augment, seeds, lengths):
    """The features that mask_fn masks, bool [B, C, F]."""
    features = torch.ones(len(lengths), CHANNELS, max(lengths))
    mask_fn = augment.draw(seeds, lengths, CHANNELS)
    return mask_fn(features) == 0


def runs(masked):
    """Count the runs of True."""
    return sum(value for value, _ in itertools.groupby(masked.tolist()))


def test_two_masks_of_each_kind_for_every_utterance():
    """Counted in the features; two masks that touch are one run there."""
    lengths = [100, 80, 60]
    seen = []
    for seed in range(200):
        seeds = [seed, seed + 1000, seed + 2000]
        for row, length in zip(
            masked_by(SpecAugment(), seeds, lengths), lengths, strict=True
        ):
            inside = row[:, :length]
            seen.append((runs(inside.all(1)), runs(inside.all(0))))
    assert set(seen) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert seen.count((2, 2)) > len(seen) / 3


@pytest.mark.parametrize("counts", [(2, 2), (1, 3), (0, 2)])
def test_masks_are_drawn_and_painted_exactly(counts):
    augment = SpecAugment(*counts, freq_ratio=0.25, time_ratio=0.2)
    for seed in range(100):
        seeds = range(seed, seed + len(LENGTHS))
        mask = augment.draw(seeds, LENGTHS, CHANNELS)
        freq, time = mask.freq.numpy(), mask.time.numpy()
        assert freq.shape == (len(LENGTHS), counts[0], 2)
        assert time.shape == (len(LENGTHS), counts[1], 2)
        painted = np.zeros((len(LENGTHS), CHANNELS, max(LENGTHS)), dtype=bool)
        for row, length in enumerate(LENGTHS):
            for start, end in freq[row]:
                assert 0 <= start < end <= CHANNELS
                assert end - start <= 0.25 * CHANNELS
                painted[row, start:end] = True
            for start, end in time[row]:
                assert 0 <= start < end <= length
                assert end - start <= max(1, 0.2 * length)
                painted[row, :, start:end] = True
        masked = masked_by(augment, seeds, LENGTHS)
        np.testing.assert_array_equal(masked.numpy(), painted)


def test_every_width_and_place_is_drawn():
    mask = SpecAugment().draw(range(3000), [40] * 3000, 20)
    drawn = mask.freq.numpy(), mask.time.numpy()
    for spans, size, widest in zip(drawn, (20, 40), (6, 6), strict=True):
        widths = np.bincount((spans[..., 1] - spans[..., 0]).ravel())
        assert (widths[1:] > 0.8 * 6000 / widest).all()
        assert len(widths) == widest + 1
        assert spans.min() == 0 and spans.max() == size


def test_an_utterance_without_frames_gets_no_time_mask():
    mask = SpecAugment().draw([3], [0], CHANNELS)
    freq, time = mask.freq.numpy(), mask.time.numpy()
    assert not time.any() and (freq[..., 1] > freq[..., 0]).all()
    assert masked_by(SpecAugment(), [3, 3], [0, 50])[0].all(0).sum() == 0


def test_masks_come_from_the_seed_whatever_the_batch():
    seeds = [11, 12, 13, 14, 15]
    together = masked_by(SpecAugment(), seeds, LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = masked_by(SpecAugment(), [seeds[row]], [length])[0]
        assert torch.equal(together[row, :, :length], alone)
    again = masked_by(SpecAugment(), seeds, LENGTHS)
    other = masked_by(SpecAugment(), [s + 1 for s in seeds], LENGTHS)
    assert torch.equal(together, again) and not torch.equal(together, other)


def test_masked_features_are_the_mean_and_the_others_untouched():
    features = torch.randn(2, CHANNELS, 50)
    lengths = torch.tensor([50, 30])
    mask_fn = SpecAugment().draw([1, 2], lengths.tolist(), CHANNELS)
    out = mask_fn(features)
    masked = masked_by(SpecAugment(), [1, 2], [50, 30])
    assert torch.equal(out, features.masked_fill(masked, 0))


@pytest.mark.parametrize(
    ("subsampling", "reach", "stride"),
    [(GaborStem.subsampling, 7, 4), (((3, 2),), 3, 2), ((), 1, 1)],
)
def test_a_masked_frame_hides_all_that_it_reads(subsampling, reach, stride):
    generator = torch.manual_seed(0)
    for spare in range(stride):
        mask = torch.rand(3, 9, generator=generator) < 0.3
        size = 8 * stride + reach + spare
        expected = torch.zeros(3, 1, size, dtype=torch.bool)
        for row, frame in mask.nonzero().tolist():
            expected[row, :, frame * stride : frame * stride + reach] = True
        mask_fn = FrameMask(mask, subsampling)
        out = mask_fn(torch.ones(3, 1, size))
        assert torch.equal(out == 0, expected)


@pytest.mark.parametrize("stem", [GaborStem(20, 16), Wav2Vec2Stem(16)])
def test_the_content_of_masked_frames_does_not_reach_them(stem):
    torch.manual_seed(0)
    frontend = WaveformFrontend(stem, 16, 24)
    lengths = frontend.output_lengths(torch.tensor([16000, 12000]))
    mask = torch.zeros(2, int(lengths[0]), dtype=torch.bool)
    mask[0, 3:7] = mask[0, 14] = mask[1, 9:12] = True
    mask_fn = FrameMask(mask, stem.subsampling)
    wav_lens = torch.tensor([1.0, 0.75])
    one, two = (
        frontend(torch.randn(2, 16000), wav_lens, mask_fn)[0] for _ in "ab"
    )
    assert torch.equal(one[mask], two[mask])
    visible = ~mask & (torch.arange(mask.shape[1]) < lengths[:, None])
    assert (one - two).abs().amax(-1)[visible].min() > 1e-3


def test_no_gradient_flows_from_a_masked_frame_to_its_features():
    stem = GaborStem(20, 16)
    features = torch.randn(1, 20, 53, requires_grad=True)
    mask = torch.zeros(1, 11, dtype=torch.bool)
    mask[0, [2, 3, 9]] = True
    seen = FrameMask(mask, stem.subsampling)(features)
    frames = stem.subsample(seen)
    for frame in range(11):
        (gradient,) = torch.autograd.grad(
            frames[0, :, frame].sum(), features, retain_graph=True
        )
        assert bool(gradient.any()) != bool(mask[0, frame])


def expected_share(length, share, span):
    """Mean over the frames of the probability that any span covers them."""
    width = min(span, length // 2)
    wanted = share * length / width
    least, rest = int(wanted), wanted - int(wanted)
    starts = np.arange(length - width + 1)
    frames = np.arange(length)[:, None]
    covered = ((starts <= frames) & (frames < starts + width)).mean(1)
    visible = (1 - rest) * (1 - covered) ** max(1, least)
    visible += rest * (1 - covered) ** max(1, least + 1)
    return 1 - visible.mean()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(("length", "span"), [(200, 10), (33, 10), (9, 10)])
def test_the_masked_share_is_as_expected(length, span, share):
    draws = min(10_000, 400_000 // length)
    lengths = torch.full((draws,), length)
    mask = draw_span_mask(range(draws), lengths, share, span)
    expected = expected_share(length, share, span)
    assert mask.double().mean().item() == pytest.approx(expected, rel=0.01)
    if length == 200:
        assert abs(expected - (1 - np.exp(-share))) < 0.02


def test_spans_stay_inside_and_are_as_wide_as_asked():
    lengths = torch.tensor([50, 12, 3, 2, 1, 0])
    masked = np.zeros(6)
    for seed in range(100):
        seeds = range(seed, seed + 6)
        mask = draw_span_mask(seeds, lengths, 0.3, 8)
        for row, length in enumerate(lengths.tolist()):
            assert not mask[row, length:].any()
            width = min(8, length // 2)
            assert mask[row].sum() >= width
            widths = [
                len(list(g)) for v, g in itertools.groupby(mask[row]) if v
            ]
            assert all(w >= width for w in widths)
            masked[row] += mask[row].sum()
    assert (masked[:4] > 0).all() and not masked[4:].any()


def test_spans_come_from_the_seed_whatever_the_batch():
    lengths = torch.tensor([50, 12, 30])
    together = draw_span_mask([5, 6, 7], lengths, 0.5, 5)
    for row in range(3):
        alone = draw_span_mask([5 + row], lengths[row : row + 1], 0.5, 5)
        assert torch.equal(together[row, : lengths[row]], alone[0])
    assert not torch.equal(together, draw_span_mask([6, 7, 8], lengths, 0.5, 5))


def test_a_batch_without_frames_still_has_the_column_of_the_frontend():
    assert draw_span_mask([1], torch.tensor([0]), 0.5, 5).tolist() == [[False]]


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_the_number_of_masked_tokens_is_uniform(length):
    draws = 4000
    mask = draw_token_mask(range(draws), torch.full((draws,), length), 14)
    assert not mask[:, length:].any()
    counts = np.bincount(mask.sum(1), minlength=length + 1)
    expected = draws / length  # at 0 masks none, at all of them as any other
    assert counts[0] == 0 and len(counts) == length + 1
    assert (np.abs(counts[1:] - expected) < 4.5 * np.sqrt(expected)).all()
    share = mask[:, :length].double().mean(0).numpy()
    np.testing.assert_allclose(share, (length + 1) / 2 / length, atol=0.035)


def test_token_masks_come_from_the_seed_whatever_the_batch():
    lengths = torch.tensor([9, 4, 0, 6])
    together = draw_token_mask([5, 6, 7, 8], lengths, 9)
    for row in range(4):
        size = int(lengths[row])
        alone = draw_token_mask([5 + row], lengths[row : row + 1], size)
        assert torch.equal(together[row, :size], alone[0])
    assert not together[2].any()
    assert not torch.equal(together, draw_token_mask([9, 5, 6, 7], lengths, 9))


def test_masks_come_with_the_run_and_grow():
    augment = SpecAugment(freq_masks=1, time_masks=1, start=0.2, full=0.6)

    def widths(progress):
        mask = augment.draw(range(2000), [100] * 2000, 80, progress)
        return [
            float((spans[..., 1] - spans[..., 0]).float().mean())
            for spans in (mask.freq, mask.time)
        ]

    assert augment.draw([1], [100], 80, 0.1) is None
    half, whole = widths(0.4), widths(0.6)
    assert whole == widths(1.0)
    for small, large in zip(half, whole, strict=True):
        assert small == pytest.approx(large / 2, rel=0.15)
