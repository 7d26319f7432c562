"""Noise at a ratio, other speakers' voices, and the table."""

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.evaluation.robustness.conditions import Condition
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
def test_the_ratio_of_energies_is_as_asked(split, kind):
    clean = split.wavs[0].astype(float)
    noisy = noise.distort(Condition(kind, 10), split, 0)
    assert noisy.dtype == np.int16
    added = noisy - clean
    found = 10 * np.log10(np.mean(clean**2) / np.mean(added**2))
    assert found == pytest.approx(10, abs=0.05)


def test_babble_is_of_other_speakers_only(split):
    """With the voices of all others silent nothing is left."""
    others = [
        wav if speaker == "a" else np.zeros_like(wav)
        for wav, speaker in zip(split.wavs, split.speakers, strict=True)
    ]
    silent = peer_data.Split(split.ids, split.texts, split.speakers, others)
    babble = Condition("babble", 0)
    assert np.array_equal(noise.distort(babble, silent, 0), split.wavs[0])
    assert not np.array_equal(noise.distort(babble, split, 0), split.wavs[0])


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
    assert found["white-5dB"]["greedy"] == {"wer": 100.0, "cer": 50.0}
    found["clean"]["greedy"]["cer"] = 25.0
    table = noise.format_table({"ours": found}, "greedy", "cer")
    assert "| babble-10dB | 50.00 (+100 %) |" in table
