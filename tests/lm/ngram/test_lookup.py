"""Other kernels call the look-ups, with built and with mapped tables."""

import math

import numba
import numpy as np
import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.lm.ngram import lookup
from nar_asr_lobes.lm.ngram.lookup import (
    fill_rows,
    new_rows,
    score_sentence,
    score_token,
)
from nar_asr_lobes.lm.ngram.tables import (
    DTYPES,
    NgramInfo,
    NgramTables,
    read_ngram,
    read_only,
    write_ngram,
)
from tests.compiled_calls import callable_from_python
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

fill_row = callable_from_python(lookup._fill_row)
find_rows = callable_from_python(lookup.find_rows)
most = callable_from_python(lookup.most)
SIZE = 12
RANDOM = random_tables(60, SIZE, seed=0)


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


def looked_up(state, tables=RANDOM):
    """The row of a state, token by token."""
    return [score_token(tables, state, token)[0] for token in range(SIZE)]


def beam_of(states):
    """A beam of which only the states are known."""
    return np.array([(state,) for state in states], [("state", np.int32)])


@pytest.mark.parametrize("chains", [1, 2])
@pytest.mark.parametrize("state", range(60))
def test_a_row_is_what_look_ups_find(state, chains):
    tables, row = random_tables(60, SIZE, 0, chains), np.empty(SIZE)
    for model in (tables, fill_rows(tables, 20 * SIZE)):
        fill_row(model, state, row)
        assert row[1:].tolist() == looked_up(state, model)[1:]


def test_states_with_a_row_in_the_tables_need_no_other_one():
    tables, rows = fill_rows(RANDOM, 20 * SIZE), new_rows(3, RANDOM)
    assert find_rows(rows, tables, beam_of([3, 25, 19]), 0, SIZE)
    assert [state for state in rows.state if state >= 0] == [25]
    for k, state in enumerate([3, 25, 19]):
        found = [most(rows, tables, k, state, t) for t in range(1, SIZE)]
        assert found == pytest.approx(looked_up(state)[1:], abs=1e-5)


def test_rows_follow_a_beam_that_changes():
    rng, rows = np.random.default_rng(1), new_rows(3, RANDOM)
    for frame in range(200):
        # of 60 states, so that rows get new owners, often equal ones
        states = rng.integers(60, size=rng.integers(1, 4)) // 2
        assert find_rows(rows, RANDOM, beam_of(states), frame, SIZE)
        for k, state in enumerate(states):
            found = [
                most(rows, RANDOM, k, state, token) for token in range(SIZE)
            ]
            assert found == pytest.approx(looked_up(state), abs=1e-5)
            assert np.all(np.array(found) > looked_up(state))


def test_a_beam_that_stays_keeps_its_rows():
    rows = new_rows(2, RANDOM)
    for frame, states in enumerate(([5, 9], [7, 5], [5, 3], [5, 8])):
        find_rows(rows, RANDOM, beam_of(states), frame, SIZE)
        if frame == 0:
            rows.log_prob[rows.place[0]] = 1.0
    assert most(rows, RANDOM, 0, 5, 4) > 1.0


def test_no_rows_for_few_tokens_or_a_wide_beam():
    rows = new_rows(1000, RANDOM)
    assert not find_rows(rows, RANDOM, beam_of([5]), 0, 3)
    assert not find_rows(rows, RANDOM, beam_of(range(100)), 0, SIZE)
    assert (rows.state == -1).all()
