"""Reading the sizes of a published model, or saying why not."""

import json

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.pretrained.encoder import _read_published_config
from tests.published_models import PUBLISHED, SIZES

SMALL = {
    key: SIZES[key]
    for key in (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
    )
}


def write(folder, name="config.json", **values):
    (folder / name).write_text(json.dumps(values))
    return folder


def read(folder, **changes):
    values = {"model_type": "wav2vec2", **SMALL, **changes}
    kept = {key: value for key, value in values.items() if value != "absent"}
    return _read_published_config(write(folder, **kept))


@pytest.mark.parametrize("name", PUBLISHED)
def test_absent_keys_have_the_defaults_of_transformers(name, tmp_path):
    _, config, changes = PUBLISHED[name]
    whole = config(**{**SIZES, **changes}).to_dict()
    short = {"model_type": config.model_type, **SIZES, **changes}
    found = [
        _read_published_config(
            write(tmp_path, **json.loads(json.dumps(values)))
        )
        for values in (whole, short)
    ]
    assert found[0] == found[1]
    assert found[0].model_type == config.model_type
    assert found[0].model.position_buckets > 0 or "wavlm" not in name


def test_a_byte_order_mark_is_skipped(tmp_path):
    wanted = read(tmp_path)
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert _read_published_config(tmp_path) == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec2-conformer"}, "model_type is 'wav2vec2-conf"),
        ({"model_type": "absent"}, "model_type is None; only wav2vec2, hubert"),
        ({"add_adapter": True}, "add_adapter is True, but .* False only"),
        (
            {"adapter_attn_dim": 16},
            "is 16, but .* None only; import .*mms-300m",
        ),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', but .* 'gelu' only"),
        ({"feat_extract_activation": "swish"}, "feat_extract_activation is 's"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, r"conv_stride is \[5, 2, 2,"),
        ({"conv_kernel": [10, 3]}, r"conv_kernel is \[10, 3\], but"),
        ({"conv_dim": [512] * 6 + [64]}, r"conv_dim is \[512, .* of equal"),
        ({"conv_dim": []}, r"conv_dim is \[\], but"),
        ({"conv_dim": ["a"] * 7}, r"conv_dim is \['a'"),
        ({"conv_dim": [0] * 7}, r"conv_dim is \[0, 0"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm is 'batch'"),
        ({"do_stable_layer_norm": "yes"}, "do_stable_layer_norm is 'yes'"),
        ({"hidden_size": "absent"}, "hidden_size is missing; download"),
        ({"hidden_size": 32.0}, "hidden_size is 32.0, no number above 0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, no number above"),
        ({"num_attention_heads": 5}, "32 does not split into 5 heads; .* 5$"),
        ({"num_conv_pos_embedding_groups": 3}, "conv_groups 3 do not divide"),
        ({"model_type": "wavlm", "num_buckets": 2}, "position_buckets is 2"),
    ],
)
def test_what_we_cannot_compute_with_is_refused(changes, message, tmp_path):
    with pytest.raises(UserError, match=f"config.json: .*{message}"):
        read(tmp_path, **changes)


def test_files_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(UserError, match="holds no config.json; name a folder"):
        _read_published_config(tmp_path)
    for text, message in (("{", "be read as JSON"), ("[]", "holds no keys")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=f"config.json: .*{message}"):
            _read_published_config(tmp_path)


def test_the_audio_is_as_its_file_says(tmp_path):
    found = read(tmp_path)
    assert found.model.normalize_audio
    assert found.audio == (
        "normalised (no preprocessor_config.json says otherwise)"
    )
    inner = {"do_normalize": False, "sampling_rate": 16000}
    write(tmp_path, "processor_config.json", feature_extractor=inner)
    found = read(tmp_path)
    assert not found.model.normalize_audio
    assert found.audio == "not normalised (processor_config.json)"
    write(tmp_path, "preprocessor_config.json", do_normalize=True)
    found = read(tmp_path)
    assert found.model.normalize_audio
    assert found.audio == "normalised (preprocessor_config.json)"
    assert not _read_published_config(tmp_path, False).model.normalize_audio


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampling_rate": 8000}, "sampling_rate is 8000, but .* 16000 only"),
        ({"do_normalize": "yes"}, "do_normalize is 'yes'; correct it"),
    ],
)
def test_other_audio_is_refused(values, message, tmp_path):
    write(tmp_path, "preprocessor_config.json", **values)
    with pytest.raises(UserError, match=f"preprocessor_config.json: {message}"):
        read(tmp_path)
