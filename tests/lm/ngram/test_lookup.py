"""Other kernels call the look-ups, with built and with mapped tables."""

import math

import numba
import numpy as np
import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.lm.ngram.lookup import fill_rows, score_sentence, score_token
from nar_asr_lobes.lm.ngram.storage import NgramInfo, read_ngram, write_ngram
from nar_asr_lobes.lm.ngram.tables import DTYPES, NgramTables, read_only
from tests.random_ngram import random_tables

# "1 2" is known after "0": states are 0, "1" (1), "1 2" (2).
TABLES = NgramTables(
    unigram_log_prob=[-np.inf, -1.0, -2.0, -3.0],
    unigram_state=[0, 1, 0, 0],
    backoff=[0.0, -0.25, 0.5],
    backoff_state=[0, 0, 1],
    final=[-4.0, -5.0, -6.0],
    arc_begin=[0, 0, 2, 3],
    arc_token=[1, 2, 3],
    arc_log_prob=[-0.5, -0.75, -0.125],
    arc_state=[1, 2, 0],
    start=[1],
)
TABLES = NgramTables(*map(read_only, map(np.array, TABLES), DTYPES))


@pytest.mark.parametrize(
    ("state", "token", "log_prob", "after"),
    [
        (0, 1, -1.0, 1),
        (0, 3, -3.0, 0),
        (1, 1, -0.5, 1),  # the first of its arcs, and the last
        (1, 2, -0.75, 2),
        (1, 3, -0.25 - 3.0, 0),  # the next state's arc is not its own
        (2, 3, -0.125, 0),
        (2, 2, 0.5 - 0.75, 2),
        (2, 1, 0.5 - 0.5, 1),
    ],
)
def test_arcs_before_back_off(state, token, log_prob, after):
    assert score_token(TABLES, state, token) == (log_prob, after)


@pytest.mark.parametrize(
    ("state", "token", "log_prob", "after"),
    [
        (2, 3, -0.125, 0),  # its arcs are before either chain
        (2, 2, 0.5 - 0.75, 2),
        (2, 1, -8.0 - 1.0, 1),  # straight to no words
        (1, 3, -16.0 - 0.125, 0),  # to a longer state
    ],
)
def test_a_chain_of_its_own(state, token, log_prob, after):
    tables = TABLES._replace(
        backoff=np.append(TABLES.backoff, np.float32([0, -16, -8])),
        backoff_state=np.append(TABLES.backoff_state, np.int32([0, 2, 0])),
        chain=np.int32([0, 3, 0, 3]),
    )
    tables = NgramTables(*map(read_only, tables, DTYPES))
    assert score_token(tables, state, token) == (log_prob, after)


def test_a_sentence_starts_and_ends():
    assert score_sentence(TABLES, np.array([], dtype=np.int64)) == -5.0
    assert score_sentence(TABLES, np.array([2, 3])) == -0.75 - 0.125 - 4.0


def test_one_kind_of_arrays_so_that_numba_compiles_once(tmp_path):
    tokenizer = CharTokenizer("abc")
    info = NgramInfo(tokenizer.fingerprint, 2, 1, 0, "numpy")
    write_ngram(tmp_path / "lm.ngram", TABLES, info)
    mapped, _ = read_ngram(tmp_path / "lm.ngram", tokenizer)
    assert numba.typeof(mapped) == numba.typeof(TABLES)
    assert numba.typeof(fill_rows(mapped)) == numba.typeof(TABLES)


def test_another_kernel_may_call_it_without_the_interpreter_lock():
    @numba.njit(nogil=True)
    def mass(tables, state):
        total = math.exp(tables.final[state])
        for token in range(1, len(tables.unigram_log_prob)):
            total += math.exp(score_token(tables, state, token)[0])
        return total

    wanted = sum(map(math.exp, (-1.0, -2.0, -3.0, -4.0)))
    assert mass(TABLES, 0) == pytest.approx(wanted)


@pytest.mark.parametrize("chains", [1, 2])
@pytest.mark.parametrize("numbers", [0, 9 * 7, 9 * 60, 1 << 20])
def test_rows_change_no_look_up(chains, numbers):
    tables = random_tables(60, 9, seed=3, chains=chains)
    filled = fill_rows(tables, numbers)
    rows = max(1, min(60, numbers // 9))
    assert filled.row_log_prob.shape == filled.row_state.shape == (rows, 9)
    for state in range(60):
        for token in range(1, 9):
            log_prob, after = score_token(tables, state, token)
            found = score_token(filled, state, token)
            assert found == (pytest.approx(log_prob, abs=1e-12), after)


def test_rows_are_read_and_not_the_arcs_below_them():
    filled = fill_rows(TABLES, numbers=2 * 4)
    changed = filled._replace(arc_token=np.zeros(3, np.int32))
    changed = NgramTables(*map(read_only, changed, DTYPES))
    assert score_token(changed, 1, 2) == (-0.75, 2)
    assert score_token(changed, 2, 3) == (0.5 - 0.25 - 3.0, 0)
