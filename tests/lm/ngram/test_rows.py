import numpy as np
import pytest

from nar_asr_lobes.lm.ngram import rows as rows_kernel
from nar_asr_lobes.lm.ngram.lookup import fill_rows, score_token
from nar_asr_lobes.lm.ngram.rows import new_rows
from tests.compiled_calls import callable_from_python
from tests.random_ngram import random_tables

fill_row = callable_from_python(rows_kernel.fill_row)
find_rows = callable_from_python(rows_kernel.find_rows)
most = callable_from_python(rows_kernel.most)
SIZE = 12
TABLES = random_tables(60, SIZE, seed=0)


def looked_up(state, tables=TABLES):
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
    tables, rows = fill_rows(TABLES, 20 * SIZE), new_rows(3, TABLES)
    assert find_rows(rows, tables, beam_of([3, 25, 19]), 0, SIZE)
    assert [state for state in rows.state if state >= 0] == [25]
    for k, state in enumerate([3, 25, 19]):
        found = [most(rows, tables, k, state, t) for t in range(1, SIZE)]
        assert found == pytest.approx(looked_up(state)[1:], abs=1e-5)


def test_rows_follow_a_beam_that_changes():
    rng, rows = np.random.default_rng(1), new_rows(3, TABLES)
    for frame in range(200):
        # of 60 states, so that rows get new owners, often equal ones
        states = rng.integers(60, size=rng.integers(1, 4)) // 2
        assert find_rows(rows, TABLES, beam_of(states), frame, SIZE)
        for k, state in enumerate(states):
            found = [
                most(rows, TABLES, k, state, token) for token in range(SIZE)
            ]
            assert found == pytest.approx(looked_up(state), abs=1e-5)
            assert np.all(np.array(found) > looked_up(state))


def test_a_beam_that_stays_keeps_its_rows():
    rows = new_rows(2, TABLES)
    for frame, states in enumerate(([5, 9], [7, 5], [5, 3], [5, 8])):
        find_rows(rows, TABLES, beam_of(states), frame, SIZE)
        if frame == 0:
            rows.log_prob[rows.place[0]] = 1.0
    assert most(rows, TABLES, 0, 5, 4) > 1.0


def test_no_rows_for_few_tokens_or_a_wide_beam():
    rows = new_rows(1000, TABLES)
    assert not find_rows(rows, TABLES, beam_of([5]), 0, 3)
    assert not find_rows(rows, TABLES, beam_of(range(100)), 0, SIZE)
    assert (rows.state == -1).all()
