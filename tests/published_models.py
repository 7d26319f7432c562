"""Models of transformers with random weights, small but for their layout."""

import json

import torch
from transformers import (
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2ForAudioFrameClassification,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2ForXVector,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMForCTC,
    WavLMForXVector,
    WavLMModel,
    logging,
)

from nar_asr_lobes.lobes.model import SpeechEncoder
from nar_asr_lobes.pretrained.encoder import import_encoder
from nar_asr_lobes.training.checkpoint import CheckpointFolder

logging.set_verbosity_error()
logging.disable_progress_bar()

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [24] * 7,
    "vocab_size": 9,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "num_codevectors_per_group": 4,
    "tdnn_dim": [8] * 5,
    "xvector_output_dim": 8,
    "classifier_proj_size": 8,
}
ODD = {"hidden_size": 36, "num_conv_pos_embedding_groups": 4}  # heads of 9
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
PUBLISHED = {
    "wav2vec2-base": (Wav2Vec2Model, Wav2Vec2Config, {}),
    "wav2vec2-large": (
        Wav2Vec2ForPreTraining,
        Wav2Vec2Config,
        {**LARGE, "conv_bias": True},
    ),
    "wav2vec2-ctc": (Wav2Vec2ForCTC, Wav2Vec2Config, {}),
    "wav2vec2-classifier": (
        Wav2Vec2ForSequenceClassification,
        Wav2Vec2Config,
        {"use_weighted_layer_sum": True},
    ),
    "wav2vec2-xvector": (
        Wav2Vec2ForXVector,
        Wav2Vec2Config,
        {**LARGE, "use_weighted_layer_sum": True},
    ),
    "wav2vec2-frames": (
        Wav2Vec2ForAudioFrameClassification,
        Wav2Vec2Config,
        {},
    ),
    "wav2vec2-odd": (Wav2Vec2Model, Wav2Vec2Config, {**LARGE, **ODD}),
    "hubert-base": (HubertModel, HubertConfig, {}),
    "hubert-large-ctc": (HubertForCTC, HubertConfig, LARGE),
    "hubert-distilled": (
        HubertModel,
        HubertConfig,
        {"feat_proj_layer_norm": False, "num_conv_pos_embeddings": 31},
    ),
    "wavlm-base": (WavLMModel, WavLMConfig, {}),
    "wavlm-large": (WavLMModel, WavLMConfig, LARGE),
    "wavlm-odd-xvector": (WavLMForXVector, WavLMConfig, ODD),
    # Buckets that a second of audio fills.
    "wavlm-ctc": (
        WavLMForCTC,
        WavLMConfig,
        {"num_buckets": 12, "max_bucket_distance": 20},
    ),
}


def make_published(name, **changes):
    """A model whose norms, biases and gates are neither 0 nor 1."""
    kind, config, sizes = PUBLISHED[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind(config(**{**SIZES, **sizes, **changes}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def save_published(model, folder, do_normalize=None, **options):
    """Save it as transformers does; return the folder."""
    model.save_pretrained(folder, **options)
    if do_normalize is not None:
        settings = {"do_normalize": do_normalize, "sampling_rate": 16000}
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps(settings))
    return folder


def imported(source, output, **options):
    """Import a folder; give the encoder with its weights, and the report."""
    report = import_encoder(source, output, **options)
    encoder = SpeechEncoder(report.published.model).eval()
    state = CheckpointFolder(output / "checkpoints").newest().load("model")
    assert all(name.startswith("encoder.") for name in state)
    encoder.load_state_dict(
        {name.removeprefix("encoder."): state[name] for name in state}
    )
    return encoder, report
