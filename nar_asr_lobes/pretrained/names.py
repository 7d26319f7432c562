"""The names that published encoders give to the tensors of ours.

A table maps a part of ours to a published one: ``#`` stands for the number of
a layer, ``?`` for q, k and v. Its weight and bias, or the part itself where it
is a tensor, are the last step of both names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Names = Mapping[str, str]

HEADS = {  # first steps of the names of parts beside the encoder
    # transformers
    "lm_head",
    "quantizer",
    "project_q",
    "project_hid",
    "projector",
    "classifier",
    "layer_weights",
    "masked_spec_embed",  # replaces masked frames, for which we have zeros
    # fairseq2, and the decoders of Omnilingual-ASR
    "final_proj",
    "final_target_proj",
    "masker",
    "encoder_proj",
    "text_frontend",
    "llama_decoder",
    "lang_embeddings",
    # SpidR and DinoSR
    "teacher",
    "heads",
    "codebooks",
    "mask_embedding",
    "current_step",
}
TRANSFORMERS = {
    "frontend.stem.convs.#": "feature_extractor.conv_layers.#.conv",
    "frontend.stem.layer_norms.#": "feature_extractor.conv_layers.#.layer_norm",
    "frontend.stem.first_norm": "feature_extractor.conv_layers.0.layer_norm",
    "frontend.norm": "feature_projection.layer_norm",
    "frontend.projection": "feature_projection.projection",
    "layers.position.conv": "encoder.pos_conv_embed.conv",
    "layers.position.convs.#": "encoder.pos_conv_embed.layers.#.conv",
    "layers.norm": "encoder.layer_norm",
    "layers.bias.table": "encoder.layers.0.attention.rel_attn_embed",
} | {
    f"layers.layers.#.{ours}": f"encoder.layers.#.{published}"
    for ours, published in (
        ("attention.gate.scale", "attention.gru_rel_pos_const"),
        ("attention.gate.projection", "attention.gru_rel_pos_linear"),
        ("attention.query_key_value", "attention.?_proj"),
        ("attention.output", "attention.out_proj"),
        ("attention_norm", "layer_norm"),
        ("ffn.0", "feed_forward.intermediate_dense"),
        ("ffn.2", "feed_forward.output_dense"),
        ("ffn_norm", "final_layer_norm"),
    )
}
_FAIRSEQ2_STEM = "encoder_frontend.feature_extractor.layers"
FAIRSEQ2 = {  # pre-norm: large_lv60k, and the sizes of Omnilingual-ASR
    "frontend.stem.convs.#": f"{_FAIRSEQ2_STEM}.#.conv",
    "frontend.stem.layer_norms.#": f"{_FAIRSEQ2_STEM}.#.layer_norm",
    "frontend.stem.first_norm": f"{_FAIRSEQ2_STEM}.0.group_norm",
    "frontend.norm": "encoder_frontend.post_extract_layer_norm",
    "frontend.projection": "encoder_frontend.model_dim_proj",
    "layers.position.conv": "encoder_frontend.pos_encoder.conv",
    "layers.position.convs.#": "encoder_frontend.pos_encoder.layers.#.conv",
    "layers.norm": "encoder.layer_norm",
} | {
    f"layers.layers.#.{ours}": f"encoder.layers.#.{published}"
    for ours, published in (
        ("attention.query_key_value", "self_attn.?_proj"),
        ("attention.output", "self_attn.output_proj"),
        ("attention_norm", "self_attn_layer_norm"),
        ("ffn.0", "ffn.inner_proj"),
        ("ffn.2", "ffn.output_proj"),
        ("ffn_norm", "ffn_layer_norm"),
    )
}
FAIRSEQ2_POST_NORM = FAIRSEQ2 | {"layers.norm": "encoder_frontend.layer_norm"}
SPIDR = {
    ours: published.replace("encoder.", "student.")
    for ours, published in TRANSFORMERS.items()
} | {
    "layers.position.convs.#": "student.pos_conv_embed.convs.#",
    "layers.layers.#.attention.query_key_value": "student.layers.#."
    "attention.qkv",
    "layers.layers.#.attention.output": "student.layers.#.attention.proj",
}


def published_names(name: str, table: Names) -> list[str]:
    """Return the published names of the tensors that make one of ours.

    Example
    -------
    >>> published_names("layers.layers.7.ffn.0.bias", FAIRSEQ2)
    ['encoder.layers.7.ffn.inner_proj.bias']
    """
    for ours, published in table.items():
        pattern = re.escape(ours).replace(r"\#", r"(?P<layer>\d+)")
        match = re.fullmatch(rf"{pattern}(?P<kind>\.weight|\.bias)?", name)
        if match:
            layer = match.groupdict().get("layer", "")
            found = published.replace("#", layer) + (match["kind"] or "")
            kinds = "qkv" if "?" in found else "?"
            return [found.replace("?", kind) for kind in kinds]
    raise ValueError(f"no published name for {name}")
