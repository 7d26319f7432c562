"""Terms counted by hand, and the figures of a public medical board."""

import hashlib
import json

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.normalizers import get_normalizer
from nar_asr_lobes.evaluation.scoring import score_texts, summarize
from nar_asr_lobes.evaluation.terms import read_terms
from nar_asr_lobes.evaluation.texts import read_paired

TERMS = (
    "term\tcategory\naspirin\tdrugs\nhay fever\tconditions\n"
    "Painkiller\tdrugs\nheadache\tsymptoms\nhay fever season\tconditions\n"
)
CANONICAL = (
    "side\tfrom\tto\n\nboth\tpain killers\tpainkillers\n"
    "both\tpainkillers\tpainkiller\nreference\tasprin\taspirin\n"
    "hypothesis\thead ache\theadache\n"
)


@pytest.fixture
def terms(tmp_path):
    (tmp_path / "terms.tsv").write_text(TERMS, encoding="utf-8")
    (tmp_path / "canonical.tsv").write_text(CANONICAL, encoding="utf-8")
    normalize = get_normalizer("english").apply
    return read_terms(
        tmp_path / "terms.tsv", tmp_path / "canonical.tsv", normalize
    )


@pytest.mark.parametrize(
    ("reference", "hypothesis", "pairs"),
    [
        ("take aspirin", "take aspirin", [("aspirin", "aspirin")]),
        ("take aspirin", "take asprin", [("aspirin", "asprin")]),
        ("take asprin", "take aspirin", [("aspirin", "aspirin")]),
        ("take aspirin", "take", [("aspirin", "")]),
        ("take it", "take it aspirin", [("", "aspirin")]),
        # a term in place of another word is no inserted term
        ("take it", "take aspirin", []),
        # several words are one term, in one piece
        ("hay fever today", "hay fever today", [("hay_fever",) * 2]),
        ("hay fever today", "hey fever today", [("hay_fever", "fever")]),
        ("hay fever season", "season", [("hay_fever_season", "season")]),
        # rules follow each other: pain killers, painkillers, painkiller
        ("pain killers", "a painkiller", [("painkiller", "painkiller")]),
        # one side only
        ("a headache", "a head ache", [("headache", "headache")]),
        ("a head ache", "a headache", []),
    ],
)
def test_terms_by_hand(terms, reference, hypothesis, pairs):
    assert terms.align(reference, hypothesis).pairs == pairs


def test_rates_by_hand(terms):
    scores = score_texts(
        ["aspirin aspirin for hay fever", "headache and painkillers"],
        ["aspirin and for hay fever", "headache and pain killers aspirin"],
        terms=terms,
    )
    found = summarize(scores)
    assert found["substitutions"] == 2  # canonical spellings are not for WER
    table = found["terms"]
    assert table["all"]["terms"] == 5
    assert (table["all"]["substitutions"], table["all"]["deletions"]) == (1, 0)
    assert table["all"]["m_wer"] == pytest.approx(1 / 5)
    assert table["all"]["recall"] == pytest.approx(4 / 5)
    assert table["all"]["insertions"] == table["drugs"]["insertions"] == 1
    assert table["drugs"]["m_wer"] == pytest.approx(1 / 3)
    # of the first text both different terms are there, so aspirin counts
    assert table["all"]["entity_recall"] == 1
    assert table["symptoms"]["m_wer"] == 0


def test_the_lists_are_named_with_their_hashes(terms):
    for name, text in (("terms.tsv", TERMS), ("canonical.tsv", CANONICAL)):
        assert terms.files[name] == hashlib.sha256(text.encode()).hexdigest()


def test_bad_rows_are_counted(tmp_path):
    path = tmp_path / "terms.tsv"
    path.write_text("aspirin\nx\ty\tz\nok\tdrugs\n\tdrugs\n", encoding="utf-8")
    with pytest.raises(UserError, match="3 faults: .*tsv:1: is not term, cat"):
        read_terms(path)
    path.write_text("ok\tdrugs\n", encoding="utf-8")
    sides = tmp_path / "sides.tsv"
    sides.write_text("left\ta\tb\n", encoding="utf-8")
    with pytest.raises(UserError, match="side 'left' is unknown"):
        read_terms(path, sides)


def test_rules_in_a_circle_end(tmp_path):
    path = tmp_path / "terms.tsv"
    path.write_text("a\tx\n", encoding="utf-8")
    circle = tmp_path / "circle.tsv"
    circle.write_text("both\ta\tb\nboth\tb\ta\n", encoding="utf-8")
    assert read_terms(path, circle).align("a", "a").pairs[0][0] in "ab"


def test_the_public_medical_board(real_data):
    """All six systems, in their order, and WER and drug M-WER exactly."""
    pytest.importorskip("whisper_normalizer")
    board = real_data / "primock57_board"
    normalize = get_normalizer("conversation").apply
    terms = read_terms(board / "terms.tsv", board / "canonical.tsv", normalize)
    published = json.loads((board / "published.json").read_text())
    folders = [board / "hypotheses" / name for name in published]
    paired = read_paired(board / "references", *folders)
    references = [*map(normalize, paired.references.texts.values())]
    found = {}
    for (name, theirs), texts in zip(
        published.items(), paired.hypotheses, strict=True
    ):
        hypotheses = [*map(normalize, texts)]
        scores = score_texts(references, hypotheses, terms=terms)
        ours = found[name] = summarize(scores)
        drugs = ours["terms"]["drugs"]
        assert drugs["terms"] == theirs["global_high_risk_ref_count"] == 466
        assert ours["mean_wer"] == pytest.approx(theirs["avg_wer"], abs=1e-5)
        errors = theirs["global_per_category"]["drugs"]
        for kind in ("substitutions", "deletions"):
            assert drugs[kind] == errors[kind]
        m_wer = ours["terms"]["all"]["m_wer"]
        assert m_wer == pytest.approx(theirs["global_m_wer"], abs=1e-3)
    order = sorted(found, key=lambda name: found[name]["terms"]["all"]["m_wer"])
    assert order == sorted(
        published, key=lambda name: published[name]["global_m_wer"]
    )
