"""Every tensor of a published model is accounted for."""

import json
import os
import re

import pytest
import safetensors.torch
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.pretrained.encoder import _read_published_config
from nar_asr_lobes.pretrained.names import TRANSFORMERS
from nar_asr_lobes.pretrained.weights import (
    encoder_state,
    read_tensors,
    without_heads,
)
from tests.published_models import PUBLISHED, make_published, save_published

CONV = "encoder.pos_conv_embed.conv"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A WavLM with a CTC head."""
    folder = tmp_path_factory.mktemp("published")
    return save_published(make_published("wavlm-ctc"), folder)


@pytest.fixture
def tensors(source):
    return read_tensors(source)[1]


def convert(source, tensors):
    published = _read_published_config(source)
    kept, _ = without_heads(tensors, "wavlm.")
    return encoder_state(kept, published.model, TRANSFORMERS, "a.safetensors")


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_tensor_can_be_missing_or_too_many(name, tmp_path):
    model = make_published(name)
    prefix = f"{model.base_model_prefix}."
    source = save_published(model, tmp_path)
    published = _read_published_config(source)
    tensors, _ = without_heads(read_tensors(source)[1], prefix)
    state = encoder_state(tensors, published.model, TRANSFORMERS, "")
    assert len(tensors) > len(state)  # three become one
    for left_out in list(tensors)[:: len(tensors) // 5]:
        rest = {k: v for k, v in tensors.items() if k != left_out}
        short = left_out.partition("param")[0]
        with pytest.raises(UserError, match=f"lacks .*{re.escape(short)}"):
            encoder_state(rest, published.model, TRANSFORMERS, "")


def test_missing_and_unknown_tensors_are_named(source, tensors):
    short = "encoder.layers.1.attention.k_proj.bias"
    bias = tensors.pop(f"wavlm.{short}")
    message = f"^a.safetensors: lacks {re.escape(short)}; take a whole model"
    with pytest.raises(UserError, match=message):
        convert(source, tensors)
    tensors[f"wavlm.{short}"] = bias
    for extra in ("encoder.layers.3.layer_norm.bias", "other.weight"):
        extra = f"wavlm.{extra}"
        short = re.escape(extra.removeprefix("wavlm."))
        message = f"unknown to this encoder: {short}; take"
        with pytest.raises(UserError, match=message):
            convert(source, {**tensors, extra: bias})


def test_many_names_are_cut(source, tensors):
    rest = {k: v for k, v in tensors.items() if "layers.0" not in k}
    with pytest.raises(UserError, match=r"lacks (\S+, ){9}\S+ and \d+ more;"):
        convert(source, rest)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "encoder.layers.0.attention.v_proj.weight",
            torch.zeros(32, 31),
            r"v_proj.weight is \[32, 31\] of torch.float32, but the sizes of "
            r"the model ask for \[32, 32\] of floats",
        ),
        (
            "encoder.layer_norm.weight",
            torch.zeros(32, dtype=torch.int8),
            r"is \[32\] of torch.int8, but the sizes .* ask for \[32\]",
        ),
        (
            f"{CONV}.parametrizations.weight.original0",
            torch.zeros(32, 1, 1),
            r"original0 is \[32, 1, 1\] .* ask for \[1, 1, 128\]",
        ),
    ],
)
def test_another_shape_or_type_is_refused(
    source, tensors, name, value, message
):
    with pytest.raises(UserError, match=message):
        convert(source, {**tensors, f"wavlm.{name}": value})


def test_old_names_of_weight_norm_are_known(source, tensors):
    wanted = convert(source, tensors)
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        value = tensors.pop(f"wavlm.{CONV}.parametrizations.weight.{new}")
        tensors[f"wavlm.{CONV}.{old}"] = value
    found = convert(source, tensors)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


class Trap:
    """Would make a folder if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_read_and_none_of_its_code_is_run(tensors, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors, path)
    found, values = read_tensors(tmp_path)
    assert found == path
    assert all(torch.equal(values[name], tensors[name]) for name in tensors)
    torch.save({**tensors, "trap": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(UserError, match="does not hold tensors only, or is"):
        read_tensors(tmp_path)
    assert not (tmp_path / "sprung").exists()
    torch.save({**tensors, "steps": 3}, path)
    with pytest.raises(UserError, match="does not hold tensors only, or is"):
        read_tensors(tmp_path)


def test_files_that_are_damaged_or_missing_are_told(tmp_path):
    with pytest.raises(UserError, match="holds neither model.safetensors nor"):
        read_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(UserError, match="model.bin: does not hold tensors"):
        read_tensors(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("[]")
    with pytest.raises(UserError, match="index.json: is damaged; download"):
        read_tensors(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors"}}))
    with pytest.raises(UserError, match="1.safetensors: is missing; download"):
        read_tensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="model.safetensors: does not hold"):
        read_tensors(tmp_path)
    safetensors.torch.save_file(
        {"a": torch.ones(1)}, tmp_path / "model.safetensors"
    )
    assert read_tensors(tmp_path)[1]["a"].item() == 1


def test_an_index_cannot_lead_out_of_its_folder(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a")
    index = {"weight_map": {"a": "../a"}}
    (inside / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="inside/a: is missing"):
        read_tensors(inside)
