import copy

import pytest
import torch
from torch import nn

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.model import ModelConfig, build_model
from nar_asr_lobes.training.optim import muon
from nar_asr_lobes.training.optim.muon import MuonAdamW, orthogonalize
from nar_asr_lobes.training.optim.scheduler import parameter_groups

SETTINGS = {"lr": 0.01, "weight_decay": 0.1}


def model_of(seed=0):
    torch.manual_seed(seed)
    return build_model(ModelConfig.tiny(), 7)


def give_gradients(model, seed):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)


def optimizer_of(model):
    return MuonAdamW(parameter_groups(model, 0.5), **SETTINGS)


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def train(model, optimizer, seeds):
    for seed in seeds:
        give_gradients(model, seed)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def test_muon_gets_the_matrices_of_the_layers_and_nothing_else():
    model = model_of()
    optimizer = optimizer_of(model)
    names = {p: name for name, p in model.named_parameters()}
    matrices, others = (
        {
            names[p]
            for group in optimizer.param_groups
            for p in group["params"]
            if group["hidden"] is hidden
        }
        for hidden in (True, False)
    )
    assert matrices | others == set(names.values())
    assert "encoder.layers.layers.0.ffn1.0.weight" in matrices
    assert all(".layers." in name for name in matrices)
    assert {"ctc_head.weight", "decoder.embedding.weight"} < others
    assert not any(name.endswith("bias") for name in matrices)


@pytest.mark.parametrize("fast", [True, False])
def test_the_steps_are_those_of_two_optimisers_of_torch(fast, monkeypatch):
    """Its Muon works in bfloat16, so that ours in fp32 is near, not equal."""
    monkeypatch.setattr(muon, "has_fast_bf16", lambda device: fast)
    model = model_of()
    twin, start = copy.deepcopy(model), weights(model)
    train(model, optimizer_of(model), range(3))
    groups = parameter_groups(twin, 0.5)
    alone = [
        torch.optim.Muon(
            [g for g in groups if g["hidden"]],
            adjust_lr_fn="match_rms_adamw",
            **SETTINGS,
        ),
        torch.optim.AdamW(
            [g for g in groups if not g["hidden"]],
            betas=(0.9, 0.98),
            **SETTINGS,
        ),
    ]
    for seed in range(3):
        give_gradients(twin, seed)
        for optimizer in alone:
            optimizer.step()
    moved, wanted = weights(model) - start, weights(twin) - start
    assert (moved - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("shape", [(3, 5, 9), (3, 9, 5), (1, 6, 6)])
def test_singular_values_come_near_one(shape, monkeypatch):
    monkeypatch.setattr(muon, "has_fast_bf16", lambda device: False)
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonalize(matrices)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() and values.max() < 1.25
    # the singular vectors stay
    inside = left.mT @ found @ right.mT
    rest = inside - torch.diag_embed(inside.diagonal(dim1=1, dim2=2))
    assert rest.abs().max() < 1e-3


def test_each_matrix_is_alone_in_its_stack():
    matrices = torch.randn(4, 6, 8)
    for matrix, found in zip(matrices, orthogonalize(matrices), strict=True):
        torch.testing.assert_close(orthogonalize(matrix[None])[0], found)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does():
    model = model_of()
    train(model, optimizer_of(model), range(5))
    begun = model_of()
    first = optimizer_of(begun)
    train(begun, first, range(2))
    resumed = model_of(seed=1)
    resumed.load_state_dict(begun.state_dict())
    second = optimizer_of(resumed)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(resumed, second, range(2, 5))
    assert torch.equal(weights(resumed), weights(model))


def test_the_rate_of_a_group_reaches_all_parameters():
    model = model_of()
    optimizer = optimizer_of(model)
    before = weights(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, [0])
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("hidden", [True, False])
def test_one_kind_of_parameter_is_enough(hidden):
    weight = nn.Parameter(torch.ones(4, 4))
    optimizer = MuonAdamW([{"params": [weight], "hidden": hidden}], lr=0.1)
    weight.grad = torch.eye(4)
    optimizer.step()
    assert len(optimizer.state_dict()["state"]) == 1
    assert (weight.diagonal() < 1).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"momentum": "x"}, "momentum is 'x'; it must be a"),
        ({"momentum": 1.0}, "momentum is 1.0; it must be a"),
        ({"weight_decay": -1}, "weight_decay is -1; it must be a"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    groups = [{"params": [nn.Parameter(torch.ones(4, 4))], "hidden": True}]
    with pytest.raises(UserError, match=message):
        MuonAdamW(groups, **settings)
