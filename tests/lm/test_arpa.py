"""ARPA files hold the tables, and KenLM reads every one of them."""

import kenlm
import numpy as np
import pytest

from nar_asr_lobes.lm import arpa
from nar_asr_lobes.lm.arpa import make_loadable, read_counts, write_arpa
from nar_asr_lobes.lm.kneser_ney import NgramModel, NgramTable, estimate

TOKENS = np.array([0, 1, 2, 0, 1, 1, 2, 2, 0])
LENGTHS = np.array([3, 4, 2])


def test_file_holds_the_tables(tmp_path, read_arpa, monkeypatch):
    monkeypatch.setattr(arpa, "_ROWS", 2)  # several portions
    model = estimate(TOKENS, LENGTHS, 3)
    write_arpa(tmp_path / "a", model, ["é", "▁", "خ"])
    names = ["<unk>", "<s>", "</s>", "é", "▁", "خ"]
    wanted = {}
    for table in model.tables:
        for row, gram in enumerate(table.words.tolist()):
            backoff = 0.0 if table.backoff is None else table.backoff[row]
            wanted[tuple(names[i] for i in gram)] = table.log_prob[row], backoff
    grams = read_arpa(tmp_path / "a")
    assert grams.keys() == wanted.keys()
    for gram, (prob, backoff) in wanted.items():
        assert grams[gram][0] == pytest.approx(prob, abs=2e-6)
        assert (grams[gram][1] or 0) == pytest.approx(backoff, abs=2e-6)
    assert read_counts(tmp_path / "a") == tuple(
        len(table.words) for table in model.tables
    )


def test_zero_is_written_as_the_format_wants(tmp_path, read_arpa):
    one = np.zeros(1, dtype=np.float32)
    table = NgramTable(np.array([[3]], dtype=np.int32), one, one - 99)
    write_arpa(tmp_path / "a", NgramModel(np.array([0]), [table]), ["a"])
    assert read_arpa(tmp_path / "a") == {("a",): (0.0, -99.0)}


@pytest.mark.parametrize("order", [1, 2, 6])
def test_kenlm_reads_every_order(tmp_path, order, read_arpa):
    write_arpa(tmp_path / "a", estimate(TOKENS, LENGTHS, order), "abc")
    make_loadable(tmp_path / "a", tmp_path / "b.arpa")
    model = kenlm.Model(str(tmp_path / "b.arpa"))
    grams = read_arpa(tmp_path / "b.arpa")
    assert grams == read_arpa(tmp_path / "a")
    for text in ("a b c", "c c b a b", "b x a"):
        wanted = grams.sentence(text.split(), order)
        assert model.score(text) == pytest.approx(wanted, abs=1e-4)


def test_kenlm_reads_what_lmplz_writes_for_a_back_off_of_zero(tmp_path):
    source = tmp_path / "a"
    source.write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\t0\n"
        "0\t<s>\t-0.3\n-0.4\t</s>\t0\n-0.5\t-inf\t-inf\n\n"
        "\\2-grams:\n-0.1\t<s> -inf\n\n\\end\\\n"
    )
    with pytest.raises(OSError, match="Bad backoff"):
        kenlm.Model(str(source))
    make_loadable(source, tmp_path / "b.arpa")
    model = kenlm.Model(str(tmp_path / "b.arpa"))
    # The word that looks like the number keeps its name.
    assert model.score("-inf") == pytest.approx(-0.1 - 99 - 0.4, abs=1e-3)


def test_other_orders_are_copied_as_they_are(tmp_path):
    write_arpa(tmp_path / "a", estimate(TOKENS, LENGTHS, 2), "abc")
    make_loadable(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
