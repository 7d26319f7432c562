import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels, LmFiles, require_models
from nar_asr_lobes.lm.neural.scorer import WEIGHTS, NeuralLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

TOKENIZER = CharTokenizer(" ab")


@pytest.fixture
def files(tmp_path):
    """An n-gram of order 3, a neural model and a bigram for LODR."""
    paths = [
        str(train_ngram(["ab a", "b"], TOKENIZER, order, tmp_path / name).path)
        for order, name in ((3, "lm.arpa"), (2, "lodr.arpa"))
    ]
    neural = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), TOKENIZER.size))
    neural.save(tmp_path / WEIGHTS, TOKENIZER)
    return LmFiles(paths[0], str(tmp_path), paths[1])


def test_what_is_named_is_loaded(files):
    lms = files.load(TOKENIZER)
    assert lms.present == {"ngram", "neural", "lodr"}
    assert (lms.ngram.info.order, lms.lodr.info.order) == (3, 2)
    assert lms.neural.model.vocab_size == TOKENIZER.size
    assert LmFiles().load(TOKENIZER) == LanguageModels()


def test_all_of_them_belong_to_one_tokenizer(files):
    for name in ("ngram", "neural", "lodr"):
        one = LmFiles(**{name: getattr(files, name)})
        with pytest.raises(UserError, match="made with another tokenizer"):
            one.load(CharTokenizer(" ac"))


def test_others_take_the_place_of_their_like():
    mine = LanguageModels(ngram="a", lodr="b")
    found = mine.updated(LanguageModels(ngram="c", neural="d"))
    assert found == LanguageModels("c", "d", "b")
    assert found.present == {"ngram", "neural", "lodr"}
    assert mine.present == {"ngram", "lodr"}


def test_only_the_weights_asked_about_are_looked_at():
    class Options:
        lm_weight, neural_weight, lodr_weight = 0.5, 0.0, 0.0

    require_models(Options, {"ngram"})
    require_models(Options, (), ["neural_weight", "lodr_weight"])
    with pytest.raises(UserError, match="^lm_weight is 0.5 but there is no la"):
        require_models(Options, {"neural"})
