"""Properties of our encoder and of that of wav2vec 2.0 alike."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.encoder import ConformerEncoder
from nar_asr_lobes.lobes.wav2vec2_encoder import Wav2Vec2Encoder

LENGTHS = [21, 9, 2, 1, 0]
BASE = ModelConfig(
    encoder="wav2vec2",
    encoder_layers=3,
    d_model=16,
    heads=2,
    ffn_dim=32,
    conv_kernel=8,
    conv_groups=4,
    dropout=0.2,
)
KINDS = {
    "pre-norm": BASE,
    "post-norm": replace(BASE, norm_first=False),
    "post-norm, stacked": replace(
        BASE, norm_first=False, position_layers=3, conv_kernel=5
    ),
    "pre-norm, relative": replace(
        BASE, position_buckets=8, position_distance=16
    ),
    "post-norm, relative": replace(
        BASE, norm_first=False, position_buckets=8, position_distance=16
    ),
}
OURS = partial(ConformerEncoder, 3, 16, 2, 32, 5, dropout=0.2)
BUILDERS = {"ours": OURS} | {
    kind: partial(Wav2Vec2Encoder, config) for kind, config in KINDS.items()
}


@pytest.fixture(params=BUILDERS)
def encoder(request, scramble):
    return scramble(BUILDERS[request.param]())


@pytest.fixture
def frames():
    """Valid frames of size 1; the padding is a thousand times larger."""
    x = torch.randn(len(LENGTHS), 21, 16)
    for row, length in enumerate(LENGTHS):
        x[row, length:] *= 1000
    return x


def test_batch_equals_one_by_one(encoder, frames):
    batch = encoder(frames, torch.tensor(LENGTHS))
    for row, length in enumerate(LENGTHS[:-1]):
        alone = encoder(frames[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(
            batch[row, :length], alone[0], atol=1e-5, rtol=0
        )


def test_an_utterance_without_frames_harms_nobody(encoder, frames):
    states = encoder(frames, torch.tensor(LENGTHS))
    assert states[-1].isfinite().all()
    states.square().mean().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_hook_sees_all_layers_but_the_last_and_may_change(encoder):
    x, lengths, seen = torch.randn(1, 4, 16), torch.tensor([4]), []

    def hook(number, states):
        seen.append(number)
        return states.flip(1) if number == 2 else states

    changed = encoder(x, lengths, hook)
    assert seen == [1, 2]
    assert (changed - encoder(x, lengths)).abs().max() > 1e-3


def test_dropout_only_while_training(encoder):
    x, lengths = torch.randn(1, 4, 16), torch.tensor([4])
    assert torch.equal(encoder(x, lengths), encoder(x, lengths))
    encoder.train()
    assert not torch.equal(encoder(x, lengths), encoder(x, lengths))


def test_mixed_precision_is_near_single(encoder, frames):
    lengths = torch.tensor(LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(frames, lengths)
    wanted = encoder(frames, lengths)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(
            half[row, :length].float(), wanted[row, :length], atol=0.1, rtol=0
        )


def test_what_a_shallower_encoder_gives_is_read(scramble):
    """Of a layer's output, ``read`` makes what would be the end there."""
    for config in KINDS.values():
        deep = scramble(Wav2Vec2Encoder(config))
        shallow = Wav2Vec2Encoder(replace(config, encoder_layers=2)).eval()
        left = shallow.load_state_dict(deep.state_dict(), strict=False)
        assert left.missing_keys == []
        read = {}

        def hook(number, x, deep=deep, read=read):
            read[number] = deep.output_norm(x)
            return x

        x, lengths = torch.randn(1, 7, 16), torch.tensor([7])
        deep(x, lengths, hook)
        torch.testing.assert_close(read[2], shallow(x, lengths))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_on_a_gpu_equals_one_by_one_on_a_cpu(encoder, frames):
    lengths = torch.tensor(LENGTHS)
    batch = frames.cuda().bfloat16()
    with torch.autocast("cuda", torch.bfloat16):
        out = encoder.cuda()(batch, lengths.cuda()).float().cpu()
    encoder.cpu()
    for row, length in enumerate(LENGTHS):
        if length:
            x = frames[row : row + 1, :length].bfloat16().float()
            alone = encoder(x, lengths[row : row + 1])[0]
            torch.testing.assert_close(
                out[row, :length], alone, atol=0.1, rtol=0.05
            )


def test_the_gradient_ends_above_frozen_layers(encoder, frames):
    """The lowest two of three: all that learns is above them."""
    encoder.freeze(0)
    assert all(p.requires_grad for p in encoder.parameters())
    encoder.freeze(2)
    below = []

    def keep(number, x):
        below.append(x.requires_grad)
        return x

    encoder(frames, torch.tensor(LENGTHS), hook=keep)[0].sum().backward()
    assert below == [False, False]
    learns = {n for n, p in encoder.named_parameters() if p.grad is not None}
    last = {
        name
        for name, _ in encoder.named_parameters()
        if name.startswith("layers.2.")
    }
    after = {f"norm.{x}" for x in ("weight", "bias")}
    after = after if getattr(encoder, "norm_first", True) else set()
    assert learns == last | after
