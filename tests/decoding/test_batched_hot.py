from dataclasses import replace

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.batched_beam import batched_prefix_beam_search
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.batched import BatchedNgram
from tests.decoding.ngram_tables import BackoffLM

TOKENIZER = CharTokenizer(" abc")
HOT = HotWords.build(["ab", "a b", "cab", "bb c"], TOKENIZER, 2.0)


@pytest.mark.parametrize("lm_weight", [0.0, 0.6])
@pytest.mark.parametrize("recombine", [False, True])
@pytest.mark.parametrize("limit", [1, 3])
def test_equals_the_compiled_search(lattice, lm_weight, recombine, limit):
    rng, lm, changed = np.random.default_rng(1), BackoffLM(5, 2), 0
    hot = replace(HOT, limit=limit)
    options = BeamOptions(
        beam_size=8, lm_weight=lm_weight, token_bonus=0.3, recombine=recombine
    )
    rows = [lattice(frames, 5, rng) for frames in [12] * 15 + [5, 0]]
    batch = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths, batched = [len(row) for row in rows], BatchedNgram(lm.tables)
    found = batched_prefix_beam_search(
        batch, lengths, options, batched, None, hot
    )
    expected = prefix_beam_search(rows, options, lm, None, hot)
    plain = prefix_beam_search(rows, options, lm)
    for ours, theirs, without in zip(found, expected, plain, strict=True):
        # merging fills up the N-best of the compiled search only
        count = 1 if recombine else len(theirs)
        for a, b in zip(ours[:count], theirs[:count], strict=True):
            assert a.tokens == b.tokens
            assert a.score == pytest.approx(b.score, abs=1e-6)
            assert (a.lm, a.hot) == pytest.approx((b.lm, b.hot), abs=1e-6)
        changed += ours[0].tokens != without[0].tokens
    assert changed > 8


def test_boost_0_is_bit_identical_to_no_list(lattice):
    batch = lattice(20, 5, np.random.default_rng(2))[None]
    off = batched_prefix_beam_search(batch, [20], BeamOptions())
    for boost in (0.0, 2.0):
        hot = replace(HOT, boost=boost)
        found = batched_prefix_beam_search(
            batch, [20], BeamOptions(), hot_words=hot
        )
        assert (found == off) is (boost == 0.0)


def test_a_list_of_another_tokenizer_is_refused():
    frames = torch.full((1, 2, 3), 1 / 3).log()
    with pytest.raises(UserError, match="3 labels with hot words of 5"):
        batched_prefix_beam_search(frames, [2], BeamOptions(), hot_words=HOT)
