import threading
from dataclasses import dataclass

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from nar_asr_lobes.lobes.attention import attention_mask, rotary_angles
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.encoder import _EncoderLayer
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.stems import GaborStem, Wav2Vec2Stem
from nar_asr_lobes.lobes.wav2vec2_encoder import _Wav2Vec2Layer
from nar_asr_lobes.objectives.best_rq import BestRq
from nar_asr_lobes.training.device import compile_layers, move, prefetch


@dataclass(frozen=True)
class Inner:
    values: torch.Tensor
    names: list[str]


@dataclass(frozen=True)
class Outer:
    inner: Inner | None
    mask: torch.Tensor
    count: float


def test_tensors_are_moved_at_any_depth_and_the_rest_is_kept():
    names = ["a"]
    outer = Outer(Inner(torch.ones(2), names), torch.ones(3), 1.5)
    moved = move(outer, "meta")
    assert moved.inner.values.is_meta and moved.mask.is_meta
    assert moved.inner.names is names and moved.count == 1.5
    assert outer.mask.device.type == "cpu"
    assert move(Outer(None, torch.ones(1), 0.0), "meta").inner is None


def test_one_item_is_made_ahead_in_a_thread_of_its_own():
    made, second = [], threading.Event()

    def make(item):
        made.append((item, threading.get_ident()))
        if item == 2:
            second.set()
        return -item

    items = prefetch(range(1, 5), make, "cpu")
    assert made == []
    assert next(items) == -1
    assert second.wait(10)  # made while the first is in use
    assert [item for item, _ in made] == [1, 2]
    assert list(items) == [-2, -3, -4]
    threads = {thread for _, thread in made}
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_an_error_comes_in_its_turn():
    def make(item):
        if item == 3:
            raise ValueError("three")
        return item

    found = []
    with pytest.raises(ValueError, match="three"):
        for item in prefetch([1, 2, 3, 4], make, "cpu"):
            found.append(item)
    assert found == [1, 2]


def compiled(part):
    """The part as one graph; how many graphs there are."""
    counter = CompileCounter()
    torch._dynamo.reset()
    return torch.compile(
        part, backend=counter, fullgraph=True, dynamic=True
    ), counter


def test_one_graph_serves_all_layers_and_lengths():
    torch.manual_seed(0)
    layers = [_EncoderLayer(16, 2, 32, 5, 0.0) for _ in range(3)]
    counter = CompileCounter()
    torch._dynamo.reset()
    for shape in ((3, 7), (2, 12), (5, 4)):
        x = torch.randn(*shape, 16)
        lengths = torch.tensor([shape[1], 2, 3, 4, 1][: shape[0]])
        valid = valid_mask(lengths, shape[1])
        angles = rotary_angles(torch.arange(float(shape[1]))[None], 8)
        inputs = (x, valid, angles, attention_mask(valid))
        for layer in layers:
            graph = torch.compile(
                layer, backend=counter, fullgraph=True, dynamic=True
            )
            torch.testing.assert_close(graph(*inputs), layer(*inputs))
    assert counter.frame_count == 1


def test_other_parts_are_one_graph_too():
    x, valid = torch.randn(2, 7, 16), valid_mask(torch.tensor([7, 4]), 7)
    layer = _Wav2Vec2Layer(ModelConfig(d_model=16, heads=2, ffn_dim=32)).eval()
    graph, counter = compiled(layer)
    mask = attention_mask(valid)
    torch.testing.assert_close(graph(x, mask, None), layer(x, mask, None))
    assert counter.frame_count == 1


@pytest.mark.parametrize("stem", [GaborStem(8, 16), Wav2Vec2Stem(8)])
def test_stems_are_one_graph(stem):
    wavs, samples = torch.randn(2, 4000), torch.tensor([4000, 3000])
    graph, counter = compiled(stem.features)
    features = stem.features(wavs, samples)
    torch.testing.assert_close(graph(wavs, samples), features)
    graph, _ = compiled(stem.subsample)
    torch.testing.assert_close(graph(features), stem.subsample(features))
    assert counter.frame_count == 1


def test_names_stay_when_layers_are_compiled():
    model = BestRq(ModelConfig.tiny(), codebooks=1, codes=8)
    before = list(model.state_dict())
    compile_layers(model)
    assert list(model.state_dict()) == before
    for layer in model.encoder.layers.layers:
        assert layer._compiled_call_impl is not None
    assert "features" in vars(model.encoder.frontend.stem)
