"""How often the 95 % intervals hold the true error rate.

Test sets are drawn from populations of speakers with known error rates; the
table has the share of them whose interval holds the population's rate.

python benchmarks/interval_coverage.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from nar_asr_lobes.evaluation.bootstrap import rate_interval

SPEAKERS = (5, 10, 20, 50, 100)
_Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def _even(mean: float, spread: float) -> _Draw:
    """Speakers of about 96 words; their rates have a beta distribution."""

    def draw(rng, speakers):
        words = rng.integers(3, 21, (speakers, 8)).sum(1)
        rates = rng.beta(mean * spread, (1 - mean) * spread, speakers)
        return rates, words

    return draw


def _uneven(rng, speakers):
    """A few speakers have many times the words of others."""
    words = np.ceil(rng.lognormal(4.5, 0.8, speakers)).astype(int)
    return rng.beta(2, 18, speakers), words


POPULATIONS = {
    "rate 10 %": (_even(0.1, 20), 0.1),
    "rate 3 %": (_even(1 / 33, 33), 1 / 33),
    "rate 35 %": (_even(0.35, 10), 0.35),
    "rate 10 %, uneven amounts": (_uneven, 0.1),
}


def coverage(draw: _Draw, truth: float, speakers: int, rounds: int) -> float:
    """Share of the simulated test sets whose interval holds the truth."""
    held = 0
    for seed in range(rounds):
        rng = np.random.default_rng([seed, speakers])
        rates, words = draw(rng, speakers)
        errors = rng.binomial(words, rates)
        found = rate_interval(errors, words, seed=seed, samples=1000)
        held += found.low <= truth <= found.high
    return held / rounds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    rounds = parser.parse_args().rounds
    print("| speakers | " + " | ".join(POPULATIONS) + " |")
    print("|---" * (1 + len(POPULATIONS)) + "|")
    for speakers in SPEAKERS:
        cells = [
            f"{100 * coverage(draw, truth, speakers, rounds):.1f}"
            for draw, truth in POPULATIONS.values()
        ]
        print(f"| {speakers} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
