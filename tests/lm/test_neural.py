import json

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm import neural
from nar_asr_lobes.lm.neural import NeuralLM
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

TOKENIZER = CharTokenizer(" abcdef")
SENTENCES = [(3, 1, 4, 1, 5), (2,), (), (7, 7, 7, 1, 2, 3, 4, 5), (6, 2)]


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(5)
    model = TransformerLm(LmSizes(16, 2, 32, 2, 0.1), TOKENIZER.size)
    with torch.no_grad():  # far from even, so that histories count
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return NeuralLM(model)


def test_a_sentence_is_its_tokens_and_its_end(lm):
    together = lm.sentences(SENTENCES)
    for tokens, score in zip(SENTENCES, together, strict=True):
        ids = torch.tensor([tokens], dtype=torch.long)
        length = torch.tensor([len(tokens)])
        with torch.inference_mode():
            rows = lm.model.log_probs(ids, length)[0]
        parts = [rows[i, t] for i, t in enumerate((*tokens, 0))]
        assert score == pytest.approx(float(sum(parts)), abs=1e-4)
    assert len({round(score, 3) for score in together}) == len(SENTENCES)


def test_batches_of_any_size_score_alike(lm, monkeypatch):
    wanted = lm.sentences(SENTENCES)
    for size in (1, 7, 20):
        monkeypatch.setattr(neural, "_BATCH_TOKENS", size)
        assert lm.sentences(SENTENCES) == pytest.approx(wanted, abs=1e-5)
    assert lm.sentences([]) == []


def test_ids_that_are_no_pieces_are_refused(lm):
    for token in (0, 8, -1):
        with pytest.raises(ValueError, match=f"id {token} is not in 1..7"):
            lm.sentences([(1, token)])


@pytest.fixture
def saved(lm, tmp_path):
    lm.save(tmp_path / "lm.safetensors", TOKENIZER)
    return tmp_path / "lm.safetensors"


def test_what_is_saved_scores_the_same(lm, saved):
    loaded = NeuralLM.load(saved, TOKENIZER)
    assert loaded.sentences(SENTENCES) == lm.sentences(SENTENCES)
    assert not loaded.model.training
    assert {path.name for path in saved.parent.iterdir()} == {
        "lm.safetensors",
        "lm.safetensors.json",
    }


def change_json(saved, **values):
    path = saved.with_name(saved.name + ".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


DAMAGES = {
    "there is no neural language model": lambda p: p.unlink(),
    "the file that belongs to lm.safetensors is missing": (
        lambda p: p.with_name(p.name + ".json").unlink()
    ),
    "damaged or was changed, its SHA-256": (
        lambda p: p.write_bytes(p.read_bytes()[:-3])
    ),
    "SHA-256 is not the one": (
        lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\x7f")
    ),
    "json: this file is damaged": (
        lambda p: p.with_name(p.name + ".json").write_text('{"format": ')
    ),
    # No shape tells how many heads there are: only the seal does.
    "this file is damaged": lambda p: change_json(
        p, sizes=LmSizes(16, 4, 32, 2, 0.1).to_dict()
    ),
    "json: this file is dam": lambda p: change_json(p, format="other"),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_one_clear_sentence(saved, message):
    DAMAGES[message](saved)
    with pytest.raises(UserError, match=message) as caught:
        NeuralLM.load(saved, TOKENIZER)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_told_and_the_older_model_stays(lm, saved, full_disk):
    files = sorted(saved.parent.iterdir())
    with full_disk(), pytest.raises(UserError, match="cannot be written"):
        lm.save(saved, TOKENIZER)
    assert sorted(saved.parent.iterdir()) == files
    loaded = NeuralLM.load(saved, TOKENIZER)
    assert loaded.sentences([(2,)]) == lm.sentences([(2,)])


def test_another_tokenizer_is_refused(saved):
    with pytest.raises(UserError, match="made with another tokenizer"):
        NeuralLM.load(saved, CharTokenizer(" abcdeg"))
