import math

import numpy as np
import pytest

from nar_asr_lobes.decoding.beam import candidates as frame_candidates
from nar_asr_lobes.decoding.beam.candidates import BAD, new_columns
from tests.compiled_calls import callable_from_python

pick_candidates = callable_from_python(frame_candidates.pick_candidates)


def picked(row, floor, count):
    """Return the candidates as a list of tokens and scores."""
    tokens, scores = np.empty(count, np.int32), np.empty(count)
    columns = new_columns(len(row))
    found = pick_candidates(row, floor, tokens, scores, columns)
    pairs = zip(tokens[:found].tolist(), scores[:found], strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def sorted_out(row, floor, count):
    """Sort all of the row."""
    tokens = [v for v in range(1, len(row)) if row[v] > floor]
    tokens = tokens or [1 + int(row[1:].argmax())]
    tokens.sort(key=lambda v: (-row[v], v))
    return [(v, row[v]) for v in tokens[:count]]


@pytest.mark.parametrize("size", [2, 3, 64, 65, 66, 200, 256, 257, 258, 1025])
@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 8.0])
def test_equals_sorting(size, spread):
    rng = np.random.default_rng(size)
    for case in range(40):
        row = -np.abs(rng.normal(3.0, spread, size)).astype(np.float32)
        if case % 2:
            row = np.round(row, 1)  # many equal ones
        if case % 3 == 0:
            row[rng.random(size) < 0.5] = -math.inf
            row[0] = -1.0
        floor = float(rng.choice([-math.inf, -3.0, -2.0, -0.5]))
        count = int(rng.choice([1, 2, 20, 500]))
        arguments = row, floor, count
        assert picked(*arguments) == sorted_out(*arguments)


@pytest.mark.parametrize("value", [math.nan, -math.nan, 2e-4, math.inf])
@pytest.mark.parametrize("size", [28, 131])
def test_every_place_is_checked(size, value):
    for place in range(size):
        row = np.full(size, -9.0, np.float32)
        row[place] = value
        tokens, scores = np.empty(1, np.int32), np.empty(1)
        columns = new_columns(size)
        assert BAD == pick_candidates(row, -8.0, tokens, scores, columns)
