"""How fast the prefix beam search is, on posteriors and an n-gram made here.

    python benchmarks/beam_search.py [--utterances=64] [--seconds=15] [--beam=5]

25 frames a second, 1,024 tokens and the blank, a random 4-gram of about half
a million n-grams; one thread. Prints times faster than speech, best of five
rounds after one that compiles: for posteriors as of a trained model (a peak at
every third frame, with rivals, and blanks between), the same without the
language model, and for nearly flat ones, as before training.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.prefix_beam import prefix_beam_search
from nar_asr_lobes.lm.tables import NgramTables

SIZE, RATE = 1025, 25
ARCS = (0, 90, 3, 1)  # of a context of so many tokens


class RandomNgram:
    """A random 4-gram whose arcs lead to contexts that have arcs."""

    def __init__(self, rng: np.random.Generator):
        tokens, states, begins, backoff = [], [], [0, 0], [0]
        level = np.arange(1, SIZE + 1)  # state 1 + v: after token v
        last = np.arange(SIZE)  # the token each state of the level ends in
        for order, count in enumerate(ARCS[1:], start=1):
            picked = rng.integers(1, SIZE - count, size=(len(level), count))
            picked = np.sort(picked, axis=1) + np.arange(count)
            following = level[-1] + 1 + np.arange(picked.size)
            if order == len(ARCS) - 1:
                following = 1 + picked.ravel()
            tokens.append(picked.ravel())
            states.append(following)
            begins.extend(begins[-1] + count * np.arange(1, len(level) + 1))
            backoff.append(np.zeros(SIZE) if order == 1 else 1 + last)
            level, last = following, picked.ravel()
        self.tables = _freeze(
            _log_probs(rng, SIZE, 7.0),
            np.arange(1, SIZE + 1),
            np.r_[0, rng.uniform(-2.0, -0.5, len(begins) - 2)],
            np.concatenate([np.atleast_1d(part) for part in backoff]),
            _log_probs(rng, len(begins) - 1, 5.0),
            begins,
            np.concatenate(tokens),
            _log_probs(rng, begins[-1], 3.0),
            np.concatenate(states),
            [1],
        )

    def sample(self, rng: np.random.Generator, count: int) -> list[int]:
        """Walk along arcs; sometimes to any token."""
        tables, state, tokens = self.tables, 1, []
        for _ in range(count):
            begin, end = tables.arc_begin[state : state + 2]
            if rng.random() < 0.2:
                tokens.append(int(rng.integers(1, SIZE)))
                state = 1 + tokens[-1]
            else:
                arc = int(rng.integers(begin, end))
                tokens.append(int(tables.arc_token[arc]))
                state = int(tables.arc_state[arc])
        return tokens


def _log_probs(rng: np.random.Generator, count: int, mean: float) -> np.ndarray:
    return -np.abs(rng.normal(mean, 1.0, size=count))


def _freeze(*arrays: np.ndarray) -> NgramTables:
    types = "f4 i4 f4 i4 f4 i8 i4 f4 i4 i4".split()
    frozen = []
    for values, dtype in zip(arrays, types, strict=True):
        values = np.ascontiguousarray(values, dtype=dtype)
        values.flags.writeable = False
        frozen.append(values)
    return NgramTables(*frozen)


def peaky(rng: np.random.Generator, tokens: list[int]) -> torch.Tensor:
    """Posteriors with a peak of each token at every third frame."""
    logits = rng.normal(size=(3 * len(tokens), SIZE)).astype(np.float32)
    logits[:, 0] += 16
    for place, token in enumerate(tokens):
        row = logits[3 * place]
        row[0] = rng.normal(8, 2)
        row[rng.integers(1, SIZE, size=4)] = rng.normal(8, 2, size=4)
        row[token] = rng.normal(11, 2)
        logits[3 * place + 1, token] = rng.normal(11, 3)
    return torch.from_numpy(logits).log_softmax(-1)


def flat(rng: np.random.Generator, frames: int) -> torch.Tensor:
    """Posteriors that know nothing."""
    logits = rng.normal(scale=0.1, size=(frames, SIZE)).astype(np.float32)
    return torch.from_numpy(logits).log_softmax(-1)


def speed(
    utterances: list[torch.Tensor], options: BeamOptions, lm: RandomNgram
) -> float:
    """Times faster than speech, the best of five rounds."""
    prefix_beam_search(utterances[:1], options, lm)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        prefix_beam_search(utterances, options, lm)
        best = min(best, time.perf_counter() - start)
    return sum(map(len, utterances)) / RATE / best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--beam", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    lm = RandomNgram(rng)
    count = int(arguments.seconds * RATE / 3)
    known = [lm.sample(rng, count) for _ in range(arguments.utterances)]
    trained = [peaky(rng, tokens) for tokens in known]
    untrained = [flat(rng, 3 * count) for _ in known]
    fused = BeamOptions(arguments.beam, lm_weight=0.5, token_bonus=0.5)
    alone = BeamOptions(arguments.beam)
    print(f"{len(lm.tables.arc_token) + SIZE:,} n-grams")
    print(f"trained model, n-gram  {speed(trained, fused, lm):9,.0f} x")
    print(f"trained model, none    {speed(trained, alone, lm):9,.0f} x")
    print(f"untrained, n-gram      {speed(untrained, fused, lm):9,.0f} x")


if __name__ == "__main__":
    main()
