"""Lattices, a toy language model and a tiny recogniser for the searches."""

import itertools
import math

import numpy as np
import pytest
import torch

from nar_asr_lobes.lobes.model import ModelConfig, build_model
from tests.decoding.ngram_tables import bigram_tables


class BigramLM:
    """A random bigram, each of its numbers a float32; its states are tokens."""

    def __init__(self, size, seed):
        rng = np.random.default_rng(seed)
        table = rng.dirichlet(np.ones(size), size=size)  # column 0: end
        log_probs = np.log(np.maximum(table, 1e-6))
        self.table = log_probs.astype(np.float32).tolist()

    @property
    def tables(self):
        return bigram_tables(self.table)

    def partial(self, tokens):
        pairs = itertools.pairwise((0, *tokens))
        return sum(self.table[a][b] for a, b in pairs)

    def sentence(self, tokens):
        return self.partial((*tokens, 0))


@pytest.fixture
def bigram():
    """Make a language model over ids 1..size-1."""
    return BigramLM


@pytest.fixture
def lattice():
    """Make log-probabilities [T, V]; some zero probabilities if wanted.

    Float64 for exact comparisons, but each a float32, as searches take them.
    """

    def make(frames, size, rng, spread=1.0, zeros=0.0):
        logits = rng.normal(scale=spread, size=(frames, size))
        impossible = rng.random((frames, size)) < zeros
        impossible[:, int(rng.integers(size))] = False
        logits[impossible] = -math.inf
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return torch.from_numpy(logits.astype(np.float32)).double()

    return make


@pytest.fixture(scope="module")
def model():
    """A tiny random recogniser of 9 outputs, blank less likely than not."""
    torch.manual_seed(4)
    model = build_model(ModelConfig.tiny(), vocab_size=9).eval()
    with torch.no_grad():
        model.ctc_head.weight.mul_(6.0)
    return model


@pytest.fixture(scope="module")
def batch(model):
    """Three utterances of different lengths, encoded together."""
    generator = torch.Generator().manual_seed(1)
    wavs = torch.randn(3, 24000, generator=generator)
    wav_lens = torch.tensor([0.6, 1.0, 0.3])
    for row, length in enumerate((14400, 24000, 7200)):
        wavs[row, length:] = 0
    with torch.inference_mode():
        return wavs, wav_lens, model.encode(wavs, wav_lens)
