import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels, LmFiles, require_models
from nar_asr_lobes.lm.neural import WEIGHTS, NeuralLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

TOKENIZER = CharTokenizer(" ab")


@pytest.fixture
def files(tmp_path):
    """An n-gram of order 3 and a neural model."""
    ngram = train_ngram(["ab a", "b"], TOKENIZER, 3, tmp_path / "lm.arpa").path
    neural = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), TOKENIZER.size))
    neural.save(tmp_path / WEIGHTS, TOKENIZER)
    return LmFiles(str(ngram), str(tmp_path))


def test_what_is_named_is_loaded(files):
    lms = files.load(TOKENIZER)
    assert lms.present == {"ngram", "neural"}
    assert lms.ngram.info.order == 3
    assert lms.neural.model.vocab_size == TOKENIZER.size
    assert LmFiles().load(TOKENIZER) == LanguageModels()


def test_both_belong_to_one_tokenizer(files):
    for name in ("ngram", "neural"):
        one = LmFiles(**{name: getattr(files, name)})
        with pytest.raises(UserError, match="made with another tokenizer"):
            one.load(CharTokenizer(" ac"))


def test_others_take_the_place_of_their_like():
    ngram = LanguageModels(ngram="a")
    assert ngram.updated(LanguageModels(neural="d")) == LanguageModels("a", "d")
    both = LanguageModels("c", "d")
    assert ngram.updated(both) == both
    assert both.updated(LanguageModels()) == both
    assert ngram.present == {"ngram"}


def test_a_weight_needs_its_language_model():
    class Options:
        lm_weight, neural_weight = 0.5, 0.0

    require_models(Options, {"ngram"})
    require_models(object(), ())  # no weights at all
    with pytest.raises(UserError, match="^lm_weight is 0.5 but there is no la"):
        require_models(Options, {"neural"})
