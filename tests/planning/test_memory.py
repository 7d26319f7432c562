"""Estimated bytes against those of real weights, moments and activations."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.encoder import ConformerEncoder
from nar_asr_lobes.objectives.best_rq import BestRq
from nar_asr_lobes.planning.cost import PretrainModel
from nar_asr_lobes.planning.memory import (
    checkpoint_bytes,
    layer_bytes,
    memory_use,
)

SIZES = ModelConfig.tiny()
FRAMES, HEADS = 300, 4


@pytest.fixture(scope="module")
def trained():
    """A model after a step of AdamW."""
    net = BestRq(SIZES, 2, 64)
    net.encoder.frontend.freeze("filters")
    optimizer = torch.optim.AdamW(net.parameters())
    mask = torch.zeros(1, 23, dtype=torch.bool)
    out = net(torch.randn(1, 16000), torch.ones(1), mask, torch.arange(9))
    out.logits.logsumexp(-1).sum().backward()
    optimizer.step()
    return net, optimizer


def test_weights_and_moments_are_those_of_adamw(trained):
    net, optimizer = trained
    use = memory_use(PretrainModel(SIZES, 2, 64, 0.4), 10.0, "bf16")
    weights = list(net.parameters())
    assert use.weights == sum(x.nbytes for x in weights)
    assert use.gradients == sum(
        x.grad.nbytes for x in weights if x.grad is not None
    )
    moments = [
        x
        for state in optimizer.state.values()
        for name, x in state.items()
        if name != "step"
    ]
    assert use.moments == sum(x.nbytes for x in moments)


def test_a_checkpoint_holds_weights_and_moments(trained, tmp_path):
    net, optimizer = trained
    state = [dict(net.named_parameters()), optimizer.state_dict()]
    torch.save(state, tmp_path / "all.pt")
    found = checkpoint_bytes(PretrainModel(SIZES, 2, 64, 0.4))
    size = (tmp_path / "all.pt").stat().st_size
    assert found <= size < 1.6 * found  # names, and steps of each moment


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(("width", "inner"), [(256, 512), (256, 1024)])
def test_activations_are_those_that_autograd_keeps(precision, width, inner):
    found = [kept_bytes(width, inner, n, precision) for n in (1, 2)]
    sizes = replace(SIZES, d_model=width, ffn_dim=inner, heads=HEADS)
    expected = layer_bytes(PretrainModel(sizes, 2, 64, 0.4), precision)
    # Query, keys, values with the keys before rotation, and result.
    expected -= (10 if precision == "bf16" else 20) * width
    assert (found[1] - found[0]) / FRAMES == pytest.approx(expected, rel=0.02)


def kept_bytes(width, inner, layers, precision):
    """Count the bytes that layers keep on a GPU, in tensors without contents.

    Not counted are weights and their casts, and all that attention keeps:
    without a GPU it is not the fused one.
    """
    kept, casts, left_out = {}, set(), set()

    def pack(tensor):
        storage, shape = tensor.untyped_storage(), tuple(tensor.shape)
        kept[storage._cdata] = storage
        attends = HEADS in shape[:2] or shape[:2] == (1, 1)  # or angles
        if attends or tuple(sorted(shape)) in casts:
            left_out.add(storage._cdata)
        return tensor

    with FakeTensorMode(), autocast_on_no_gpu(precision):
        with torch.device("cuda"):
            encoder = ConformerEncoder(layers, width, HEADS, inner, 5, 0.1)
            x = torch.randn(1, FRAMES, width, requires_grad=True)
            lengths = torch.tensor([FRAMES])
        casts |= {tuple(sorted(x.shape)) for x in encoder.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            states = encoder(x, lengths)
        assert states.requires_grad
        return sum(x.nbytes() for k, x in kept.items() if k not in left_out)


@contextmanager
def autocast_on_no_gpu(precision):
    """Do as torch.autocast("cuda"), which asks for a GPU."""
    torch.set_autocast_enabled("cuda", precision == "bf16")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


def test_a_longer_batch_needs_more_and_nothing_else():
    model = PretrainModel(SIZES, 2, 64, 0.4)
    short, long = (memory_use(model, x, "bf16") for x in (100.0, 200.0))
    assert long.activations == pytest.approx(2 * short.activations, rel=0.01)
    assert replace(long, activations=0) == replace(short, activations=0)
