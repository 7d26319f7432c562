import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

SIZES = LmSizes(16, 2, 32, 2, 0.0)
TOKENS = torch.tensor(
    [[3, 1, 4, 1, 5, 2], [2, 6, 0, 0, 0, 0], [0] * 6, [7, 7, 7, 1, 0, 0]]
)
LENGTHS = torch.tensor([6, 2, 0, 4])


@pytest.fixture
def model(scramble):
    return scramble(TransformerLm(SIZES, 8))


@torch.inference_mode()
def test_a_batch_equals_one_by_one(model):
    together = model.log_probs(TOKENS, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model.log_probs(
            TOKENS[row : row + 1, :length], LENGTHS[row : row + 1]
        )[0]
        assert alone.shape == (length + 1, 8)
        torch.testing.assert_close(
            together[row, : length + 1], alone, atol=1e-5, rtol=0
        )
        assert (together[row, length + 1 :] == 0).all()


@torch.inference_mode()
def test_nothing_is_predicted_from_what_comes_after(model):
    changed = TOKENS[:1].clone()
    changed[0, 3] = 6
    before = model.log_probs(TOKENS[:1], LENGTHS[:1])[0]
    after = model.log_probs(changed, LENGTHS[:1])[0]
    torch.testing.assert_close(after[:4], before[:4], atol=1e-6, rtol=0)
    assert not torch.allclose(after[4:], before[4:], atol=1e-3)


@torch.inference_mode()
def test_the_order_of_what_came_before_counts(scramble):
    # one layer sees it by the positions alone
    model = scramble(TransformerLm(LmSizes(16, 2, 32, 1), 8))
    first = model.log_probs(torch.tensor([[1, 2, 3]]), torch.tensor([3]))
    second = model.log_probs(torch.tensor([[2, 1, 3]]), torch.tensor([3]))
    assert not torch.allclose(first[0, 3], second[0, 3], atol=1e-3)


@torch.inference_mode()
def test_scores_are_those_of_pieces_and_end(model):
    scores = model(TOKENS, LENGTHS)
    log_probs = model.log_probs(TOKENS, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        targets = [*TOKENS[row, :length].tolist(), 0]
        wanted = [float(log_probs[row, i, t]) for i, t in enumerate(targets)]
        assert scores[row, : length + 1].tolist() == pytest.approx(wanted)
        assert (scores[row, length + 1 :] == 0).all()
    assert log_probs[0].exp().sum(-1).tolist() == pytest.approx([1.0] * 7)


def test_gradients_reach_every_weight(model):
    model.train()
    model(TOKENS, LENGTHS).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"d_modle": 4},
            "model: unknown key 'd_modle'; did you mean",
        ),
        ({"d_model": 10, "heads": 2}, "d_model 10 does not split into 2 even"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_wrong_sizes_are_one_clear_sentence(values, message):
    with pytest.raises(UserError, match=message):
        LmSizes.from_dict(values)


def test_sizes_survive_the_way_into_a_file_and_back():
    assert LmSizes.from_dict(SIZES.to_dict()) == SIZES
