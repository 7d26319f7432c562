import json
import math

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.batched_beam import batched_prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.neural import scorer as neural
from nar_asr_lobes.lm.neural.scorer import NeuralLM
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


def one_by_one(lm, tokens):
    """The sentence's score through single states."""
    state, total = lm.start(), 0.0
    for token in tokens:
        log_prob, state = lm.score(state, token)
        total += log_prob
    return total + lm.final(state)


def test_token_by_token_equals_whole_sentences(lm):
    together = lm.sentences(SENTENCES)
    assert together == pytest.approx(
        [one_by_one(lm, tokens) for tokens in SENTENCES], abs=1e-4
    )
    assert together == pytest.approx(
        list(map(lm.sentence, SENTENCES)), abs=1e-5
    )
    assert len({round(score, 3) for score in together}) == len(SENTENCES)


def test_batches_of_any_size_score_alike(lm, monkeypatch):
    wanted = lm.sentences(SENTENCES)
    for size in (1, 7, 20):
        monkeypatch.setattr(neural, "_BATCH_TOKENS", size)
        assert lm.sentences(SENTENCES) == pytest.approx(wanted, abs=1e-5)
    assert lm.sentences([]) == []


def test_all_sentences_and_longer_prefixes_sum_to_one(lm):
    pieces = range(1, TOKENIZER.size)
    ended = lm.sentences([(), *[(piece,) for piece in pieces]])
    first = lm.batched().start(TOKENIZER.size - 1)
    second = first.extend(torch.tensor(pieces))
    begun = first.log_probs()[0, 1:, None] + second.log_probs()[:, 1:]
    total = sum(map(math.exp, ended)) + float(begun.exp().sum())
    assert total == pytest.approx(1.0, abs=1e-5)


def test_choices_of_many_hypotheses_equal_their_sentences(lm):
    """Hypotheses of uneven length, chosen and repeated as a beam does."""
    batched = lm.batched()
    states, totals, prefixes = batched.start(2), torch.zeros(2).double(), [()]
    prefixes *= 2
    generator = torch.Generator().manual_seed(1)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    for _ in range(90):  # more than the pool has room for at first
        tokens = draw(1, 8, len(prefixes), 3)
        log_probs, after = batched.score(states, tokens)
        rows = draw(0, len(prefixes), 5)
        columns = draw(-1, 3, 5)
        added = log_probs[rows, columns] * (columns >= 0)
        totals = totals[rows] + added
        prefixes = [
            (*prefixes[i], int(tokens[i, j])) if j >= 0 else prefixes[i]
            for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
        ]
        states = batched.select(states, after, rows, columns)
    lengths = list(map(len, prefixes))
    assert 64 < max(lengths) != min(lengths)
    wanted = lm.sentences(prefixes)
    found = totals + batched.final(states)
    assert found.tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-4)


def test_equal_prefixes_are_read_once(lm):
    batched = lm.batched()
    states = batched.start(3)
    _, after = batched.score(states, torch.tensor([[1], [1], [2]]))
    choice = torch.arange(3), torch.zeros(3, dtype=torch.long)
    states = batched.select(states, after, *choice)
    assert len(states.pool) == 3  # <s> and two prefixes
    kept = batched.select(states, after, choice[0], choice[1] - 1)
    assert kept.rows.equal(states.rows) and len(states.pool) == 3


def test_the_batched_beam_takes_it_as_any_language_model(lm, lattice_of):
    options = BeamOptions(5, lm_weight=0.5, token_bonus=0.2)
    [found] = batched_prefix_beam_search(
        lattice_of(12)[None], [12], options, lm.batched()
    )
    assert len(found) == 5
    assert [h.lm for h in found] == pytest.approx(
        lm.sentences([h.tokens for h in found]), abs=1e-4
    )


@pytest.fixture
def lattice_of():
    def make(frames):
        generator = torch.Generator().manual_seed(2)
        logits = torch.randn(frames, 8, generator=generator)
        return logits.log_softmax(-1)

    return make


def test_ids_that_are_no_pieces_are_refused(lm):
    for token in (0, 8, -1):
        with pytest.raises(ValueError, match=f"id {token} is not in 1..7"):
            lm.sentences([(1, token)])
        with pytest.raises(ValueError, match=f"id {token} is not in 1..7"):
            lm.score(lm.start(), token)


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
    assert NeuralLM.load(saved, TOKENIZER).sentence((2,)) == lm.sentence((2,))


def test_another_tokenizer_is_refused(saved):
    with pytest.raises(UserError, match="made with another tokenizer"):
        NeuralLM.load(saved, CharTokenizer(" abcdeg"))
