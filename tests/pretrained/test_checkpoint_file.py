"""Files that state no sizes: fairseq2, SpidR, DinoSR."""

import argparse
import re

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.pretrained.encoder import import_encoder
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from tests.checkpoint_files import FILES, make_file
from tests.published_models import (
    assert_same_states,
    imported,
    make_published,
    save_published,
)


@pytest.mark.parametrize("name", FILES)
def test_every_layer_is_that_of_the_same_network(name, tmp_path):
    model = make_file(name, tmp_path / "a.pt")
    encoder, report = imported(tmp_path / "a.pt", tmp_path / "out")
    assert_same_states(encoder, model, normalize=True)
    theirs, ours = model.config, report.published.model
    assert ours.heads == theirs.num_attention_heads
    assert ours.norm_first == getattr(theirs, "do_stable_layer_norm", False)
    bare = getattr(model, "wav2vec2", model)
    counted = sum(
        parameter.numel()
        for part, parameter in bare.named_parameters()
        if part.startswith(("encoder", "feature_"))
    )
    weight_norm = "pos_conv_embed.conv.parametrizations.weight.original0"
    folded = dict(bare.encoder.named_parameters()).get(weight_norm)
    counted -= 0 if folded is None else folded.numel()
    assert report.parameters == counted


def test_the_parts_beside_the_encoder_are_named(tmp_path):
    make_file("fairseq2-large", tmp_path / "a.pt")
    report = import_encoder(tmp_path / "a.pt", tmp_path / "b")
    assert report.dropped == [
        "final_proj",
        "final_target_proj",
        "masker",
        "quantizer",
    ]
    assert report.published.audio == "normalised (the default of such files)"
    metadata = CheckpointFolder(tmp_path / "b" / "checkpoints").metadata()
    assert metadata["source"] == "fairseq2 a.pt"
    make_file("dinosr", tmp_path / "c.pt")
    report = import_encoder(tmp_path / "c.pt", tmp_path / "d", normalize=False)
    assert report.dropped == [
        "codebooks",
        "current_step",
        "heads",
        "mask_embedding",
        "teacher",
    ]
    assert report.published.audio == "not normalised (--normalize)"
    assert not report.published.model.normalize_audio


@pytest.fixture
def tensors(tmp_path):
    make_file("fairseq2-large", tmp_path / "a.pt")
    return torch.load(tmp_path / "a.pt", weights_only=True)["model"]


def refused(tmp_path, values, message):
    torch.save(values, tmp_path / "b.pt")
    with pytest.raises(UserError, match=rf"b\.pt: {message}"):
        import_encoder(tmp_path / "b.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_bare_tensors_are_read_too(tensors, tmp_path, prefix):
    """Also those of a model in PyTorch's data-parallel wrapper."""
    bare = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    torch.save(bare, tmp_path / "b.pt")
    one, _ = imported(tmp_path / "a.pt", tmp_path / "c")
    two, _ = imported(tmp_path / "b.pt", tmp_path / "d")
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


@pytest.mark.parametrize(
    "left_out",
    [
        "encoder_frontend.model_dim_proj.weight",
        "encoder_frontend.pos_encoder.conv.weight_v",
        "encoder_frontend.feature_extractor.layers.3.conv.bias",
        "encoder.layers.0.ffn.inner_proj.weight",
        "encoder.layers.1.self_attn.k_proj.weight",
        "encoder.layer_norm.bias",
    ],
)
def test_a_missing_tensor_is_named(tensors, tmp_path, left_out):
    rest = {k: v for k, v in tensors.items() if k != left_out}
    short = re.escape(left_out.removesuffix("_v"))
    refused(
        tmp_path, {"model": rest}, f".*({short} is missing|lacks.* {short})"
    )


def test_unknown_and_misshapen_tensors_are_named(tensors, tmp_path):
    extra = {"encoder.layers.0.conv.weight": torch.ones(2)}
    refused(tmp_path, {**tensors, **extra}, "holds tensors .*layers.0.conv.wei")
    other = {"encoder.layers.1.ffn.inner_proj.bias": torch.ones(5)}
    refused(
        tmp_path, {**tensors, **other}, r".*proj.bias is \[5\] of .* \[48\]"
    )


def test_what_needs_code_to_be_read_is_refused(tensors, tmp_path):
    """As the checkpoints of fairseq, whose settings are objects."""
    settings = {"args": argparse.Namespace(), "model": tensors}
    message = "does not hold tensors only.*or convert a checkpoint of fairseq"
    refused(tmp_path, settings, message)
    refused(tmp_path, {"model": {"a": [1]}}, message)
    refused(tmp_path, {"model": 3}, message)
    refused(tmp_path, [3], message)
    (tmp_path / "c.pt").write_bytes(b"no pickle")
    with pytest.raises(UserError, match=f"c.pt: {message}"):
        import_encoder(tmp_path / "c.pt", tmp_path / "out")


def test_other_files_are_refused(tmp_path):
    message = "holds no encoder of fairseq2, SpidR or DinoSR; name the folder"
    refused(tmp_path, {"w2v_model.mask_emb": torch.ones(2)}, message)
    folder = save_published(make_published("wavlm-base"), tmp_path / "a")
    with pytest.raises(UserError, match=f"model.safetensors: {message}"):
        import_encoder(folder / "model.safetensors", tmp_path / "out")
    with pytest.raises(UserError, match="holds no config.json.* or a .pt file"):
        import_encoder(tmp_path, tmp_path / "out")
