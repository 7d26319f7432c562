import math

import numpy as np
import pytest

from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.rescore import ctc_scores
from tests.decoding.ngram_tables import BackoffLM


@pytest.mark.parametrize("zeros", [0.0, 0.3])
def test_each_hypothesis_has_the_score_of_all_its_paths(lattice, zeros):
    """Those that left the beam in a merge too; none is without a path."""
    rng, entries = np.random.default_rng(3), 0
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
        assert [h.ctc for h in nbest] == pytest.approx(all_paths, abs=1e-5)
        assert min(all_paths) > -math.inf
        scores = [h.score for h in nbest]
        assert scores == sorted(scores, reverse=True)
        entries += len(nbest)
    assert entries > 2500
