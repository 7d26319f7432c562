"""Files as fairseq2, SpidR and DinoSR write them, from models of transformers.

Each has the network of a class of transformers. The names are those of
fairseq2's models/wav2vec2/{frontend,feature_extractor,position_encoder}.py and
of SpidR's models/{components,dinosr}.py.
"""

import re

import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)

from tests.published_models import LARGE, make_model

HEADS = {"num_attention_heads": 16}
XLSR = {**LARGE, **HEADS, "conv_bias": True}
BASE = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2}
FILES = {
    "fairseq2-large": (Wav2Vec2ForPreTraining, Wav2Vec2Config, XLSR),
    "fairseq2-ctc": (Wav2Vec2ForCTC, Wav2Vec2Config, XLSR),
    "fairseq2-base": (Wav2Vec2Model, Wav2Vec2Config, BASE),
    "fairseq2-post-norm": (Wav2Vec2Model, Wav2Vec2Config, HEADS),
    "spidr": (Data2VecAudioModel, Data2VecAudioConfig, HEADS),
    "dinosr": (Data2VecAudioModel, Data2VecAudioConfig, BASE),
}
_FAIRSEQ2 = [
    (r"^wav2vec2\.", ""),
    (r"^feature_extractor\.conv_layers", "frontend.feature_extractor.layers"),
    (r"^feature_projection\.layer_norm", "frontend.post_extract_layer_norm"),
    (r"^feature_projection\.projection", "frontend.model_dim_proj"),
    (r"^encoder\.pos_conv_embed", "frontend.pos_encoder"),
    (r"^frontend", "encoder_frontend"),
    (r"parametrizations\.weight\.original0", "weight_g"),
    (r"parametrizations\.weight\.original1", "weight_v"),
    (r"^(encoder\.layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
    (r"\.attention\.out_proj", ".self_attn.output_proj"),
    (r"\.attention", ".self_attn"),
    (r"feed_forward\.intermediate_dense", "ffn.inner_proj"),
    (r"feed_forward\.output_dense", "ffn.output_proj"),
    (r"final_layer_norm", "ffn_layer_norm"),
    (r"^masked_spec_embed", "masker.temporal_mask_embed"),
    (r"^project_q", "final_target_proj"),
    (r"^(project_hid|lm_head)", "final_proj"),
]
_POST_NORM = [
    (r"^encoder\.layer_norm", "encoder_frontend.layer_norm"),
    (r"layers\.0\.layer_norm", "layers.0.group_norm"),
]
_SPIDR = [
    (r"^encoder", "student"),
    (r"pos_conv_embed\.layers\.(\d)\.conv", r"pos_conv_embed.convs.\1"),
    (r"attention\.out_proj", "attention.proj"),
    (r"^masked_spec_embed", "mask_embedding"),
]


def _rename(tensors, rules):
    def renamed(name):
        for pattern, published in rules:
            name = re.sub(pattern, published, name)
        return name

    return {renamed(name): tensor for name, tensor in tensors.items()}


def _fairseq2(model):
    rules = _FAIRSEQ2
    if not model.config.do_stable_layer_norm:
        rules = rules + _POST_NORM
    tensors = _rename(model.state_dict(), rules)
    return {**tensors, "quantizer.num_updates": torch.tensor(0)}


def _spidr(model, biases):
    tensors = _rename(model.state_dict(), _SPIDR)
    for name in [name for name in tensors if ".attention.q_proj." in name]:
        parts = [
            tensors.pop(name.replace(".q_proj.", f".{kind}_proj."))
            for kind in "qkv"
        ]
        if biases or name.endswith("weight"):
            tensors[name.replace("q_proj", "qkv")] = torch.cat(parts)
    students = {k: v for k, v in tensors.items() if k.startswith("student.")}
    return {
        **tensors,
        **{k.replace("student", "teacher"): v + 1 for k, v in students.items()},
        "heads.0.0.weight": torch.ones(2, 2),
        "codebooks.0.counts": torch.ones(2),
        "current_step": torch.tensor([5]),
    }


def make_file(name, path):
    """Write a file; give the model of transformers that it must equal."""
    model = make_model(*FILES[name])
    if name.startswith("fairseq2"):
        tensors = _fairseq2(model)
    else:
        biases = name == "dinosr"
        if not biases:
            for part, parameter in model.named_parameters():
                if re.search(r"[qkv]_proj\.bias", part):
                    torch.nn.init.zeros_(parameter)
        tensors = _spidr(model, biases)
    torch.save({"model": tensors, "step": 3}, path)
    return model
