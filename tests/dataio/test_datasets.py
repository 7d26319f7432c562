"""Batches hold what the files hold, padded; and are made the same anywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.silence import with_silence
from nar_asr_lobes.dataio.augment import WaveAugment
from nar_asr_lobes.dataio.batching import Sample, StepPlan, StepSampler
from nar_asr_lobes.dataio.datasets import (
    SpeechDataset,
    make_batch,
    step_loader,
)
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import train_tokenizer
from nar_asr_lobes.errors import UserError

TENSORS = ("wavs", "wav_lens", "samples", "tokens", "token_lens")


@pytest.fixture(scope="module")
def tokenizer(tone_clips):
    return train_tokenizer(clip.text for clip in tone_clips)


def assert_equal(one, two):
    assert (one.ids, one.texts, one.seeds) == (two.ids, two.texts, two.seeds)
    for name in TENSORS:
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_a_batch_holds_audio_and_pieces_with_padding(tone_clips, tokenizer):
    dataset = SpeechDataset(tone_clips, tokenizer)
    order = [5, 0, 3]
    batch = dataset.batch([Sample(i, 100 + i) for i in order])
    assert batch.ids == [tone_clips[i].id for i in order]
    assert batch.texts == [tone_clips[i].text for i in order]
    assert batch.seeds == [105, 100, 103]
    seconds = sum(tone_clips[i].duration for i in order)
    assert batch.seconds == pytest.approx(seconds)
    for row, i in enumerate(order):
        wav = with_silence(read_audio(tone_clips[i].audio))
        assert batch.samples[row] == len(wav)
        assert round(float(batch.wav_lens[row]) * batch.wavs.shape[1]) == len(
            wav
        )
        np.testing.assert_array_equal(batch.wavs[row, : len(wav)], wav)
        assert not batch.wavs[row, len(wav) :].any()
        pieces = batch.tokens[row, : batch.token_lens[row]].tolist()
        assert tokenizer.decode(pieces) == tone_clips[i].text
        assert not batch.tokens[row, len(pieces) :].any()


def test_audio_without_text_has_no_pieces(tone_clips):
    batch = SpeechDataset(tone_clips).batch([Sample(0, 0), Sample(1, 0)])
    assert batch.tokens.shape == (2, 0)
    assert batch.token_lens.tolist() == [0, 0]


def test_an_utterance_that_cannot_be_encoded_is_named(tone_clips, tokenizer):
    other = replace(tone_clips[1], text="ten#")
    with pytest.raises(UserError, match=f"^utterance {other.id}: .*U.0023"):
        SpeechDataset([tone_clips[0], other], tokenizer)


def test_moving_a_batch_moves_all_its_tensors():
    batch = make_batch(
        [Utterance("a", "a.wav", 0.1, "hi")],
        [np.zeros(1600, dtype=np.float32)],
        [[1, 2]],
        [4],
    )
    moved = batch.to("meta")
    assert {getattr(moved, name).device.type for name in TENSORS} == {"meta"}
    assert (moved.ids, moved.texts, moved.seeds) == (["a"], ["hi"], [4])


def test_the_augmentation_gets_the_sample_and_its_seed(tone_clips):
    def augment(wav, seed, progress):
        return wav[: 16000 + seed + round(100 * progress)]

    dataset = SpeechDataset(tone_clips, augment=augment)
    batch = dataset.batch([Sample(1, 500, 0.5), Sample(2, 700)])
    assert batch.samples.tolist() == [16550, 16800]
    plain = SpeechDataset(tone_clips).batch([Sample(1, 0), Sample(2, 0)])
    assert torch.equal(batch.wavs[1], plain.wavs[1, :16800])


def test_the_cache_reads_once_and_changes_nothing_to_speak_of(
    tone_clips, tmp_path
):
    clip = tone_clips[0]
    copy = tmp_path / "copy.wav"
    copy.write_bytes(open(clip.audio, "rb").read())
    dataset = SpeechDataset(
        [Utterance("a", str(copy), clip.duration)], cache=True
    )
    first = dataset.batch([Sample(0, 0)]).wavs
    copy.unlink()
    assert torch.equal(dataset.batch([Sample(0, 0)]).wavs, first)
    np.testing.assert_allclose(
        first[0],
        with_silence(read_audio(clip.audio)),
        atol=1 / 32767,
        rtol=0,
    )


def loader_of(tone_clips, tokenizer, workers, start=0, cache=False):
    sampler = StepSampler(
        [clip.duration for clip in tone_clips],
        global_batch=5,
        steps=6,
        max_batch_seconds=4.0,
        bucket_steps=2,
        seed=1,
    )
    sampler.start_step = start
    dataset = SpeechDataset(
        tone_clips, tokenizer, WaveAugment(noise_prob=0.8), cache
    )
    return step_loader(dataset, sampler, workers)


def test_workers_and_restarts_change_nothing(tone_clips, tokenizer):
    here = list(loader_of(tone_clips, tokenizer, workers=0))
    there = list(loader_of(tone_clips, tokenizer, workers=2, start=2))
    assert len(here) == 6
    assert {len(step) for step in here} > {1} or len(here[0]) > 1
    for mine, theirs in zip(here[2:], there, strict=True):
        for one, two in zip(mine, theirs, strict=True):
            assert_equal(one, two)


def test_loading_leaves_the_random_streams_alone(tone_clips, tokenizer):
    """A resumed run starts its loader once more than an unbroken one."""
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    list(loader_of(tone_clips, tokenizer, workers=0))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0]) and before[1] == after[1]


def test_a_step_is_its_micro_batches(tone_clips):
    plan = StepPlan(0, ((Sample(0, 1), Sample(1, 2)), (Sample(2, 3),)))
    step = SpeechDataset(tone_clips)[plan]
    assert [batch.seeds for batch in step] == [[1, 2], [3]]
