import numpy as np
import pytest

from nar_asr_lobes.decoding.hotwords.rules import HotRules
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


def walk(rules, tokens):
    """The gains of all tokens, and of the end."""
    state, gains = rules.start, []
    for token in tokens:
        state, gain = rules.step(state, token)
        gains.append(gain)
    return [*gains, rules.end(state)]


@pytest.mark.parametrize("signs", [CHARACTERS, PIECES, MIXED])
def test_token_by_token_equals_the_rules_of_the_whole(signs):
    rng, above, repeated = np.random.default_rng(1), 0, 0
    for _ in range(300):
        phrases = random_phrases(rng, *signs)
        rules = HotRules(phrases, *signs)
        for _ in range(20):
            tokens = random_text(rng, phrases)
            gains = walk(rules, tokens)
            expected = naive_gain(tokens, phrases, *signs, limit=99)
            assert sum(gains) == expected, (phrases, tokens)
            assert max(gains) <= 1 and gains[-1] <= 0
            above += expected > 0
            repeated += expected > len(phrases[0])
    assert above > 1500 and repeated > 500


def test_a_phrase_behind_itself_gains_nothing():
    rules = HotRules([(2, 3), (3,)], *CHARACTERS)
    assert sum(walk(rules, [2, 3, 1] * 9)) == 2
    assert sum(walk(rules, [2, 3, 1, 1, 2, 3])) == 2  # nor behind two spaces
    assert sum(walk(rules, [2, 3, 1, 2, 1, 2, 3])) == 4  # a word between
    assert sum(walk(rules, [2, 3, 1, 3, 1] * 9)) == 5  # 2 + 1 + 2: a chain of 3


def test_a_word_that_only_begins_like_a_phrase_gains_nothing():
    rules = HotRules([(2, 3, 1, 2), (2,)], *CHARACTERS)
    assert walk(rules, [2, 3, 1, 2, 2]) == [1, 1, 1, 1, -4, 0]
    assert walk(rules, [2, 3, 1, 2]) == [1, 1, 1, 1, 0]
    assert walk(rules, [3, 2, 1, 2, 1, 3]) == [0, 0, 0, 1, 0, 0, 0]
