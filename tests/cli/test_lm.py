"""`nar-asr lm`, called as a function."""

import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.ngram import train_word_ngram


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of letters, saved."""
    tokenizer = CharTokenizer(" abn")
    tokenizer.save(tmp_path / "tokenizer.json")
    return tokenizer


def train(folder, *options, texts=("a.txt",), tokenizer="tokenizer.json"):
    """Call the command in a folder."""
    return main(
        [
            *("lm", "train", *(str(folder / name) for name in texts)),
            *("--tokenizer", str(folder / tokenizer)),
            *("--output", str(folder / "lm.arpa"), *options),
        ]
    )


def test_it_is_the_model_of_all_lines(tokenizer, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("a ban\n\nnab x\n")
    (tmp_path / "b.txt").write_text("\ufeffba ba\nban")
    assert train(tmp_path, "--order", "3", texts=("a.txt", "b.txt")) == 0
    out, err = capsys.readouterr()
    for part in ("text: 100%", "order 3 of 13 pieces", "making"):
        assert part in err
    assert "3 lines of 13 pieces used, 2 left out" in out
    assert "outside the tokenizer: 'x'" in out
    lines = ["a ban", "ba ba", "ban"]
    wanted = train_ngram(lines, tokenizer, 3, tmp_path / "other.arpa")
    path = tmp_path / "lm.ngram"
    assert (tmp_path / "lm.arpa").read_text() == wanted.arpa.read_text()
    lm = NgramLM.load(path, tokenizer)
    ids = tokenizer.encode("ban a")
    assert lm.sentence(ids) == NgramLM.load(wanted.path, tokenizer).sentence(
        ids
    )


def test_options_reach_the_estimator(tokenizer, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("ab ab\nAB, an!\n" * 2)
    style = ("--text-style", "english")
    assert train(tmp_path, "--order", "2", "--prune", "0", "1", *style) == 0
    assert "order 2" in capsys.readouterr().out
    lines = ["ab ab", "ab an"] * 2
    wanted = train_ngram(lines, tokenizer, 2, tmp_path / "w.arpa", (0, 1))
    assert (tmp_path / "lm.arpa").read_text() == wanted.arpa.read_text()


def test_words(tokenizer, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("ab ab\nan ab x\nan ab\n")
    options = ("--unit", "words", "--min-count", "2")
    assert train(tmp_path, *options) == 0
    out = capsys.readouterr().out
    assert "order 3" in out and "2 lines of 4 words used, 1 left out" in out
    wanted = train_word_ngram(
        ["ab ab", "an ab"], tokenizer, 3, tmp_path / "w.arpa", min_count=2
    )
    assert (tmp_path / "lm.arpa").read_text() == wanted.arpa.read_text()
    assert train(tmp_path, "--min-count", "2") == 2
    assert "--min-count is for words; give --unit words" in (
        capsys.readouterr().err
    )


def test_help_states_what_unknown_words_cost(capsys):
    for task in ("train", "convert"):
        with pytest.raises(SystemExit):
            main(["lm", task, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "costs the log-probability of <unk> and that of its" in shown


def test_a_bundle_gives_its_tokenizer(bundle_folder, tmp_path, capsys):
    tokenizer = load_bundle(bundle_folder).tokenizer
    (tmp_path / "a.txt").write_text(tokenizer.decode([2, 3, 2]) + "\n")
    arguments = ("--tokenizer", str(bundle_folder), "--order", "2")
    assert train(tmp_path, *arguments) == 0
    NgramLM.load(tmp_path / "lm.ngram", tokenizer)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, (), "a.txt: is no file that can be read; check the path"),
        (b"ab\n\xff\n", (), "a.txt:2: is not UTF-8 text (byte 1 of the line"),
        (b"xyz\n", (), "no line of text can be used for a language model: all"),
        (b"ab\n", ("--order", "0"), "order 0 is not in 1 to 64; choose 4, say"),
        (b"ab\n", ("--order", "9" * 20), "is not in 1 to 64; choose 4, say"),
        (b"ab\n", ("--prune", "2"), "prune=(2,) does not suit an n-gram of"),
        (b"ab\n", ("--output", "lm.txt"), "lm.txt: is no name for an n-gram"),
        (b"ab\n", ("--tokenizer", "none"), "none: cannot read this tokenizer"),
    ],
)
def test_mistakes_are_told(
    content, options, message, tokenizer, tmp_path, capsys
):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    assert train(tmp_path, *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("error: ")
    assert not (tmp_path / "lm.arpa").exists()


def test_an_output_below_a_file_is_told(tokenizer, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("ab\n")
    below = str(tmp_path / "a.txt" / "lm.arpa")
    assert train(tmp_path, "--output", below) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "lm.arpa: cannot be written (" in last
