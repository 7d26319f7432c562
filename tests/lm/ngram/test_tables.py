"""What a look-up relies on is checked, array by array."""

import numpy as np
import pytest

from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import DTYPES, find_fault, read_only
from tests.random_ngram import random_tables


@pytest.fixture
def tables():
    """A trigram's."""
    text = np.array([1, 2, 3, 1, 1, 2, 2, 3, 1])
    return build_tables(estimate(text, np.array([4, 5]), 3), 5)


@pytest.fixture
def two_chains():
    """Random ones, the second chain in any order."""
    tables = random_tables(9, 4, seed=1, chains=2)
    assert (tables.backoff_state[9:] > np.arange(9)).any()
    unigrams = np.array([-np.inf, -1.0, -1.0, -1.0])
    return tables._replace(unigram_log_prob=unigrams)


def test_sound_tables(tables):
    assert find_fault(tables) is None
    assert tuple(values.dtype for values in tables) == DTYPES


def test_a_shared_array_becomes_read_only(tables):
    with pytest.raises(ValueError, match="read-only"):
        tables.backoff[0] = 1
    assert read_only(tables.start, DTYPES.start) is tables.start


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("unigram_log_prob", 0, 0.0),
        ("unigram_log_prob", 2, np.nan),
        ("unigram_log_prob", -1, 0.1),
        ("unigram_state", 1, -1),
        ("unigram_state", 1, 1000),
        ("backoff", 1, np.inf),
        ("backoff", 1, np.nan),
        ("backoff", -1, 2e4),
        ("backoff_state", 0, 1),
        ("backoff_state", 3, 3),  # a ring
        ("backoff_state", 3, -1),
        ("final", 0, np.nan),
        ("final", -1, -np.inf),
        ("arc_begin", 0, 1),
        ("arc_begin", 1, 1),  # arcs of state 0
        ("arc_begin", -1, 2),
        ("arc_begin", 3, 0),
        ("arc_begin", 3, 2**40),
        ("arc_token", 0, 0),
        ("arc_token", 0, 5),
        ("arc_token", 1, 4),  # before 3
        ("arc_log_prob", 0, 0.1),
        ("arc_log_prob", -1, np.nan),
        ("arc_state", 0, -1),
        ("arc_state", -1, 1000),
        ("start", 0, -1),
        ("start", 0, 1000),
    ],
)
def test_unsound_tables(tables, name, index, value):
    values = getattr(tables, name).copy()
    values[index] = value
    assert find_fault(tables._replace(**{name: values})).startswith(name)


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("backoff_state", {9: 1}),  # of state 0
        ("backoff_state", {12: 3}),  # a ring of one, of two, of three
        ("backoff_state", {10: 2, 11: 1}),
        ("backoff_state", {10: 2, 11: 3, 12: 1}),
        ("backoff_state", {17: 9}),
        ("backoff_state", {17: -1}),
        ("backoff", {17: np.nan}),
        ("chain", {1: 1}),
        ("chain", {1: -9}),
        ("chain", {1: 18}),
    ],
)
def test_unsound_second_chains(two_chains, name, edits):
    assert find_fault(two_chains) is None
    values = getattr(two_chains, name).copy()
    values[list(edits)] = list(edits.values())
    assert find_fault(two_chains._replace(**{name: values})).startswith(name)
