import numpy as np
import pytest

from nar_asr_lobes.decoding.hotwords.matching import (
    PhraseTrie,
    compile_phrases,
)
from nar_asr_lobes.lm.ngram.lookup import score_token
from tests.decoding.hot_oracle import naive_gain

# space and letters; pieces, of which 1 is a space and 1 to 3 begin words;
# characters, of which 2 and 3 are of a script without spaces
CHARACTERS, PIECES = ({1}, {1}, False), ({1, 2, 3}, {1}, True)
MIXED = ({1, 2, 3}, {1}, False)


def random_phrases(rng, boundaries, spaces, leading):
    """A list of phrases as a tokenizer would spell them."""
    letters = (4 if leading else 2), 6
    phrases = []
    while not phrases or rng.random() < 0.7:
        tokens = []
        for word in range(int(rng.integers(1, 4))):
            if leading:
                tokens.append(int(rng.integers(1, 4)))
            elif word:
                tokens.append(1)
            least = 1 if not leading or tokens[-1] == 1 else 0
            size = rng.integers(least, 3)
            tokens += rng.integers(*letters, size=size).tolist()
        phrases.append(tuple(tokens))
    return list(dict.fromkeys(phrases))


def random_text(rng, phrases, size=5):
    """Tokens in which phrases stand often, one behind the other too."""
    tokens = []
    while rng.random() < 0.85:
        if rng.random() < 0.6:
            tokens += phrases[int(rng.integers(len(phrases)))]
        else:
            tokens.append(int(rng.integers(1, size + 1)))
        if rng.random() < 0.5:
            tokens.append(1)
    return tokens


def walk(phrases, signs, *texts):
    """The gains of all tokens of each text, and of its end."""
    tables, _ = compile_phrases(PhraseTrie(phrases, *signs), 7)
    for tokens in texts:
        state, gains = int(tables.start[0]), []
        for token in tokens:
            gain, state = score_token(tables, state, token)
            gains.append(int(gain))
        yield [*gains, int(tables.final[state])]


@pytest.mark.parametrize("signs", [CHARACTERS, PIECES, MIXED])
def test_token_by_token_equals_the_rules_of_the_whole(signs):
    rng, above, repeated = np.random.default_rng(1), 0, 0
    for _ in range(300):
        phrases = random_phrases(rng, *signs)
        texts = [random_text(rng, phrases) for _ in range(20)]
        for tokens, gains in zip(
            texts, walk(phrases, signs, *texts), strict=True
        ):
            expected = naive_gain(tokens, phrases, *signs, limit=99)
            assert sum(gains) == expected, (phrases, tokens)
            assert max(gains) <= 1 and gains[-1] <= 0
            above += expected > 0
            repeated += expected > len(phrases[0])
    assert above > 1500 and repeated > 500


def test_a_word_that_only_begins_like_a_phrase_gains_nothing():
    found = walk(
        [(2, 3, 1, 2), (2,)],
        CHARACTERS,
        [2, 3, 1, 2, 2],
        [2, 3, 1, 2],
        [3, 2, 1, 2, 1, 3],
    )
    assert [*found] == [
        [1, 1, 1, 1, -4, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 0],
    ]


@pytest.mark.parametrize("signs", [CHARACTERS, PIECES])
def test_states_are_hardly_more_than_tokens_of_phrases(signs):
    """Else lists of 10,000 phrases would take a minute."""
    rng = np.random.default_rng(5)
    spaces = [[2] if signs is PIECES else [], [3 if signs is PIECES else 1]]
    phrases = {
        tuple(
            token
            for word in range(1 + i % 3)
            for token in [*spaces[word > 0], *rng.integers(4, 7, size=8)]
        )
        for i in range(200)
    }
    tables, closings = compile_phrases(PhraseTrie([*phrases], *signs), 7)
    assert len(tables.final) < 1.1 * sum(map(len, phrases))
    assert len(closings.code) == len(phrases)
