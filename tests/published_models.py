"""Models of transformers with random weights, small but for their layout."""

import json

import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    Data2VecAudioModel,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    UniSpeechConfig,
    UniSpeechForPreTraining,
    UniSpeechModel,
    UniSpeechSatConfig,
    UniSpeechSatForCTC,
    UniSpeechSatForPreTraining,
    UniSpeechSatModel,
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
    "unispeech-base": (UniSpeechModel, UniSpeechConfig, {}),
    "unispeech-large": (
        UniSpeechForPreTraining,
        UniSpeechConfig,
        {**LARGE, "conv_bias": True},
    ),
    "unispeech-sat-base": (UniSpeechSatModel, UniSpeechSatConfig, {}),
    "unispeech-sat-ctc": (UniSpeechSatForCTC, UniSpeechSatConfig, LARGE),
    "unispeech-sat-large": (
        UniSpeechSatForPreTraining,
        UniSpeechSatConfig,
        {**LARGE, "num_clusters": 6},
    ),
    "data2vec-base": (Data2VecAudioModel, Data2VecAudioConfig, {}),
    # An even kernel, and keys that this class does not look at.
    "data2vec-ctc": (
        Data2VecAudioForCTC,
        Data2VecAudioConfig,
        {
            "conv_pos_kernel_size": 6,
            "num_conv_pos_embeddings": 2,
            "conv_bias": True,
            "feat_extract_norm": "group",
            "do_stable_layer_norm": True,
        },
    ),
}


def make_published(name, **changes):
    """A model whose norms, biases and gates are neither 0 nor 1."""
    return make_model(*PUBLISHED[name], **changes)


def make_model(kind, config, sizes, **changes):
    """The same of a class, its config and changed sizes."""
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


SAMPLES = [16000, 9001, 720, 400]


def make_wavs():
    """Valid samples are off zero and quiet; the padding is loud."""
    wavs = torch.randn(len(SAMPLES), max(SAMPLES))
    for row, count in enumerate(SAMPLES):
        wavs[row, :count] = 0.2 * wavs[row, :count] + 0.05
        wavs[row, count:] *= 7.0
    return wavs


def normalized(wav):
    """As the feature extractor of transformers does."""
    return (wav - wav.mean()) / torch.sqrt(wav.var(unbiased=False) + 1e-7)


def states_of(encoder, wavs, wav_lens):
    """Each layer's output, the last through the norm where there is one."""
    states = []

    def keep(_, x):
        states.append(x)
        return x

    with torch.no_grad():
        last, lengths = encoder(wavs, wav_lens, hook=keep)
    return [*states, last], lengths


def assert_same_states(encoder, model, normalize):
    """Our batch against theirs one by one: in a batch, theirs leaks."""
    wavs = make_wavs()
    wav_lens = torch.tensor(SAMPLES) / max(SAMPLES)
    ours, lengths = states_of(encoder, wavs, wav_lens)
    bare = getattr(model, model.base_model_prefix, model)
    for row, count in enumerate(SAMPLES):
        wav = wavs[row, :count]
        wav = normalized(wav) if normalize else wav
        with torch.no_grad():
            theirs = bare(wav[None], output_hidden_states=True)
        frames = int(lengths[row])
        assert theirs.last_hidden_state.shape[1] == frames
        wanted = [*theirs.hidden_states[1:-1], theirs.last_hidden_state]
        assert len(wanted) == len(ours) == model.config.num_hidden_layers
        alone, _ = states_of(
            encoder, wavs[row : row + 1, :count], torch.ones(1)
        )
        for batch, single, other in zip(ours, alone, wanted, strict=True):
            torch.testing.assert_close(
                batch[row, :frames], other[0], atol=1e-4, rtol=0
            )
            torch.testing.assert_close(
                batch[row, :frames], single[0], atol=1e-4, rtol=0
            )
