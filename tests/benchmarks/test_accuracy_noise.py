"""Noise at a ratio: energies, seeds, other speakers' voices."""

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from tests.benchmarks.accuracy_peers import noise, peer_data


@pytest.fixture
def split():
    rng = np.random.default_rng(0)
    wavs = [
        rng.integers(-3000, 3000, size).astype(np.int16)
        for size in (8000, 16000, 4000, 8000, 12000, 8000)
    ]
    names = [f"u{i}" for i in range(6)]
    return peer_data.Split(names, ["ab"] * 6, list("aabcde"), wavs)


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("ratio", noise.RATIOS_DB)
def test_the_ratio_of_energies_is_as_asked(split, kind, ratio):
    clean = split.wavs[0]
    mixed = noise.add_noise(clean, noise.NOISES[kind](split, 0), ratio)
    added = mixed.astype(float) - clean
    found = 10 * np.log10(np.mean(clean.astype(float) ** 2) / np.mean(added**2))
    assert found == pytest.approx(ratio, abs=0.05)


def test_a_loud_mixture_is_scaled_instead_of_clipped():
    speech = (30000 * np.sin(np.arange(16000) / 10)).astype(np.int16)
    rng = np.random.default_rng(0)
    mixed = noise.add_noise(speech, rng.normal(size=16000), 5)
    assert np.abs(mixed.astype(int)).max() == 32767
    assert np.sum(np.abs(mixed.astype(int)) == 32767) == 1


def test_silence_gets_no_noise():
    quiet = np.zeros(100, dtype=np.int16)
    assert not noise.add_noise(quiet, np.ones(100), 5).any()


def test_babble_is_of_other_speakers_only(split):
    """With the voices of all others silent nothing is left."""
    others = [
        wav if speaker == "a" else np.zeros_like(wav)
        for wav, speaker in zip(split.wavs, split.speakers, strict=True)
    ]
    silent = peer_data.Split(split.ids, split.texts, split.speakers, others)
    assert noise.babble(split, 0).any()
    assert not noise.babble(silent, 0).any()


@pytest.mark.parametrize("kind", noise.NOISES)
def test_noise_follows_from_the_name_alone(split, kind):
    first, again = (noise.NOISES[kind](split, 3) for _ in range(2))
    assert np.array_equal(first, again)
    renamed = peer_data.Split(
        [*"uvwxyz"], split.texts, split.speakers, split.wavs
    )
    assert not np.array_equal(first, noise.NOISES[kind](renamed, 3))


def test_the_table_is_relative_to_clean(split, tmp_path):
    """A model that hears only loud signals errs where noise is added."""
    tokenizer = CharTokenizer("ab ")
    train_ngram(["ab", "b"], tokenizer, 2, tmp_path / "lm.arpa")
    lm = NgramLM.load(tmp_path / "lm.ngram", tokenizer)
    clean = {wav.tobytes() for wav in split.wavs}

    def encode(some):
        texts = ["ab" if w.tobytes() in clean else "b" for w in some.wavs]
        rows = []
        for text in texts:
            row = torch.full((2 * len(text), tokenizer.size), -20.0)
            for place, token in enumerate(tokenizer.encode(text)):
                row[2 * place, token] = row[2 * place + 1, 0] = 0.0
            rows.append(row.log_softmax(-1))
        return rows

    found = noise.measure(encode, tokenizer, lm, split, split)
    assert found["clean"]["greedy"]["cer"] == 0
    assert len(found) == 1 + len(noise.NOISES) * len(noise.RATIOS_DB)
    assert found["white 5 dB"]["greedy"] == {"wer": 100.0, "cer": 50.0}
    found["clean"]["greedy"]["cer"] = 25.0
    table = noise.format_table({"ours": found}, "greedy", "cer")
    assert "| babble 10 dB | 50.00 (+100 %) |" in table
