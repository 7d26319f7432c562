"""States are those contexts that matter; odd models are refused."""

import math

import numpy as np
import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.arpa import read_arpa
from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from nar_asr_lobes.lm.ngram.lookup import score_token
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import find_fault

WORDS = ["<blank>", "a", "b", "c"]
ARPA = """\\data\\
ngram 1=5
ngram 2=5
ngram 3=2

\\1-grams:
-1.5\t<unk>\t0
0\t<s>\t-0.5
-1\t</s>\t0
-0.7\ta\t-0.25
-0.6\tb\t-0.0

\\2-grams:
-0.3\t<s> a\t-0.125
-0.2\ta b\t0
-0.1\ta </s>\t0
-0.4\ta a\t0.05
-0.8\tb a

\\3-grams:
-0.01\t<s> a b
-0.02\ta b a

\\end\\
"""


@pytest.fixture
def build(tmp_path):
    """Return the function that builds the tables of an ARPA file's text."""

    def build(text):
        (tmp_path / "lm.arpa").write_text(text)
        model = read_arpa(tmp_path / "lm.arpa", WORDS)
        return build_tables(model, len(WORDS))

    return build


def follow(tables, text, state=0):
    for word in text.split():
        log_prob, state = score_token(tables, state, WORDS.index(word))
    return log_prob / math.log(10), state


def test_contexts_with_a_future_or_a_weight_and_no_others(build):
    tables = build(ARPA)
    # Nothing, <s>, a, b, <s> a, a b, a a; the last one for its weight alone.
    assert len(tables.backoff) == 7
    assert follow(tables, "b")[1] == follow(tables, "c b")[1] != 0
    assert follow(tables, "c")[1] == 0
    assert follow(tables, "a a")[1] != follow(tables, "a")[1]
    # "b a" begins nothing and weighs nothing, so only its "a" is left.
    assert follow(tables, "b a")[1] == follow(tables, "a")[1]
    assert follow(tables, "a b a")[1] == follow(tables, "a")[1]


def test_numbers_by_hand(build):
    tables = build(ARPA)
    start = int(tables.start[0])
    for text, state, wanted in [
        ("a b", start, -0.01),
        ("a a", start, -0.125 - 0.4),
        ("b", start, -0.5 - 0.6),
        ("a b a", 0, -0.02),
        ("a a b", 0, 0.05 - 0.2),
        ("b c", 0, 0 - 1.5),
    ]:
        found = follow(tables, text, state)[0]
        assert found == pytest.approx(wanted, abs=1e-6), text
    finals = {"a": -0.1, "b": -1, "a a": 0.05 - 0.1, "c": -1}
    for text, wanted in finals.items():
        final = tables.final[follow(tables, text)[1]]
        assert final == pytest.approx(wanted * math.log(10), abs=1e-6), text
    wanted = (-0.125 - 0.1) * math.log(10)
    assert tables.final[follow(tables, "a", start)[1]] == pytest.approx(wanted)


def test_a_piece_without_unk_gets_the_floor(build):
    without = ARPA.replace("-1.5\t<unk>\t0\n", "").replace("1=5", "1=4")
    tables = build(without)
    assert follow(tables, "c") == (pytest.approx(-100), 0)
    assert tables.unigram_log_prob[0] == -np.inf


def test_a_weight_of_unk_holds_for_all_it_stands_for(build):
    tables = build(ARPA.replace("<unk>\t0", "<unk>\t-0.5"))
    assert follow(tables, "c a")[0] == pytest.approx(-0.5 - 0.7)


def test_the_estimators_model_needs_no_file():
    model = estimate(np.array([3, 1, 3, 3]), np.array([2, 2]), order=3)
    tables = build_tables(model, 5)
    assert find_fault(tables) is None
    assert not any(values.flags.writeable for values in tables)
    start = int(tables.start[0])
    assert score_token(tables, start, 3)[0] > score_token(tables, start, 1)[0]
    # 2 and 4 are not in the text.
    assert score_token(tables, 0, 2) == score_token(tables, 0, 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a b a", "a c a", "beginning of an n-gram is missing"),
        ("<s> a b", "<s> a c", "ending of an n-gram is missing"),
        ("\tb a", "\ta b", "an n-gram stands twice"),
        ("\tb a", "\tb <s>", "stands inside an n-gram"),
        ("\tb a", "\tb <unk>", "stands inside an n-gram"),
        ("\tb a", "\t</s> a", "stands inside an n-gram"),
        ("\t<s>\t-0.5", "\tc\t-0.5", "beginning of an n-gram is missing"),
        ("-0.7\ta", "nan\ta", "unigram_log_prob is not in"),
        ("-0.02\ta", "0.02\ta", "arc_log_prob is not in"),
    ],
)
def test_models_of_another_kind_are_refused(build, old, new, message):
    assert ARPA.count(old) == 1
    with pytest.raises(UserError, match=f"{message}.*; train it again"):
        build(ARPA.replace(old, new))


@pytest.mark.parametrize("word", ["<s>", "</s>"])
def test_a_sentence_needs_start_and_end(build, word):
    head, *_ = ARPA.partition("\\2-grams")
    text = head.replace("ngram 2=5\nngram 3=2\n", "").replace(word, "c")
    with pytest.raises(UserError, match="<s> or </s> is missing"):
        build(text + "\\end\\\n")
