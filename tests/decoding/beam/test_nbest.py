import math

import numpy as np
import pytest

from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.rescore import ctc_scores
from tests.decoding.ngram_tables import BackoffLM


@pytest.mark.parametrize("zeros", [0.0, 0.3])
def test_no_score_is_above_that_of_all_paths(lattice, zeros):
    """None is without a path; what a merge gave has all of them."""
    rng, entries, exact = np.random.default_rng(3), 0, 0
    for seed in range(1000):
        size, frames = int(rng.integers(3, 5)), int(rng.integers(2, 8))
        spread = float(rng.choice([0.5, 2.0, 5.0]))
        log_probs = lattice(frames, size, rng, spread, zeros)
        options = BeamOptions(
            beam_size=int(rng.integers(2, 6)),
            lm_weight=0.8,
            token_bonus=1.0,
            max_candidates=None,
            min_log_prob=None,
            blank_threshold=None,
        )
        lm = BackoffLM(size, seed, order=2, kept=0.2)
        [nbest] = prefix_beam_search([log_probs], options, lm)
        all_paths = ctc_scores(log_probs, [h.tokens for h in nbest])
        for found, total in zip(nbest, all_paths, strict=True):
            assert total > -math.inf
            assert found.ctc <= total + 1e-5
            exact += found.ctc > total - 1e-5
        scores = [h.score for h in nbest]
        assert scores == sorted(scores, reverse=True)
        entries += len(nbest)
    assert entries > 2500
    assert exact > 0.7 * entries
