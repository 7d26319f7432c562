"""Bundles: what is loaded is what was written, or one clear sentence."""

import logging
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch
import yaml

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.inference.bundle import load_bundle, write_bundle
from nar_asr_lobes.inference.bundle_files import BundleCard
from nar_asr_lobes.lm.models import LmFiles
from nar_asr_lobes.lm.neural import NeuralLM
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lobes.model import ModelConfig, build_model

OPTIONS = DecodingOptions(beam5_lm=BeamOptions(beam_size=3, lm_weight=0.7))
CARD = BundleCard("Tones")


@pytest.fixture
def edit(folder, rehash):
    """Change settings of a bundle behind its index's back."""

    def change(**changes):
        path = folder / "inference.yaml"
        settings = {**yaml.safe_load(path.read_text()), **changes}
        kept = {k: v for k, v in settings.items() if v is not None}
        path.write_text(yaml.safe_dump(kept))
        rehash(folder)

    return change


def test_what_is_loaded_is_what_was_written(
    tmp_path, model, tokenizer, lm_path, speak
):
    folder = write_bundle(
        tmp_path / "bundle",
        model.train(),
        tokenizer,
        OPTIONS,
        card=BundleCard("Tones", limits=["Sine waves only."]),
        lm_files=LmFiles(lm_path),
        text_style="english",
    )
    bundle = load_bundle(folder)
    assert not bundle.model.training
    wav, whole = torch.from_numpy(speak("abc ad"))[None], torch.ones(1)
    with torch.inference_mode():
        found = bundle.model.encode(wav, whole)
        expected = model.eval().encode(wav, whole)
    assert torch.equal(found.log_probs, expected.log_probs)
    assert bundle.tokenizer.fingerprint == tokenizer.fingerprint
    assert bundle.options == OPTIONS
    assert bundle.default_mode == "nar_beam5_lm"
    assert bundle.text_style == "english"
    lm = NgramLM.load(lm_path, tokenizer)
    assert bundle.lms.ngram.sentence([2, 3, 1]) == lm.sentence([2, 3, 1])
    assert "- Sine waves only." in (folder / "README.md").read_text()


def test_a_copy_elsewhere_needs_nothing_of_the_original(
    tmp_path, model, tokenizer, lm_path
):
    folder = write_bundle(
        tmp_path / "a",
        model,
        tokenizer,
        OPTIONS,
        card=CARD,
        lm_files=LmFiles(lm_path),
    )
    shutil.move(folder, tmp_path / "b")
    assert load_bundle(tmp_path / "b").lms.ngram is not None


def test_a_sentencepiece_tokenizer_and_a_bundle_written_twice(tmp_path, model):
    tokenizer = train_tokenizer(["ab ba", "aab"], "unigram", 6)
    other = build_model(ModelConfig.tiny(), 6)
    small = CharTokenizer("ab")
    parts = [
        (build_model(ModelConfig.tiny(), 3), small),
        (other, tokenizer),
    ]
    for each, its_tokenizer in parts:
        folder = write_bundle(
            tmp_path / "bundle", each, its_tokenizer, OPTIONS, card=CARD
        )
    bundle = load_bundle(folder)
    assert bundle.tokenizer.pieces == tokenizer.pieces
    assert bundle.default_mode == "nar" and bundle.lms.ngram is None
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tokenizer": CharTokenizer("xyz")}, "4 pieces but the model 6"),
        ({"text_style": "latin"}, "'latin' is unknown"),
        ({"default_mode": "beam6"}, "unknown decoding mode 'beam6'; choose"),
        ({"default_mode": "beam5_lm"}, "beam5_lm needs a language model"),
        ({"lm_files": LmFiles("no.ngram")}, "no.ngram: there is no file of"),
    ],
)
def test_parts_that_do_not_belong_together_are_not_written(
    tmp_path, model, tokenizer, changes, message
):
    parts = {"model": model, "tokenizer": tokenizer, "options": OPTIONS}
    with pytest.raises(UserError, match=message):
        write_bundle(tmp_path / "b", **{**parts, "card": CARD, **changes})
    assert list(tmp_path.iterdir()) == []


def test_a_language_model_of_another_tokenizer_is_refused(
    tmp_path, tokenizer, lm_path, rehash
):
    other = CharTokenizer(" abce")
    parts = (build_model(ModelConfig.tiny(), 6), other, OPTIONS)
    files = LmFiles(lm_path)
    with pytest.raises(UserError, match="made with another tokenizer"):
        write_bundle(tmp_path / "b", *parts, card=CARD, lm_files=files)
    folder = write_bundle(
        tmp_path / "b", *parts[:1], tokenizer, OPTIONS,
        card=CARD, lm_files=files,
    )  # fmt: skip
    other.save(folder / "tokenizer")
    settings = yaml.safe_load((folder / "inference.yaml").read_text())
    settings["tokenizer"] = other.fingerprint
    (folder / "inference.yaml").write_text(yaml.safe_dump(settings))
    rehash(folder)
    with pytest.raises(UserError, match="lm.ngram: .* another tokenizer"):
        load_bundle(folder)


@pytest.fixture
def with_all(tmp_path, model, tokenizer, lm_path, neural_folder):
    """A bundle with all language models."""
    return write_bundle(
        tmp_path / "with_all",
        model,
        tokenizer,
        OPTIONS,
        card=CARD,
        lm_files=LmFiles(lm_path, neural_folder),
        default_mode="beam5_lm",
    )


def test_the_language_models_come_along(
    with_all, tokenizer, lm_path, neural_folder
):
    bundle = load_bundle(with_all)
    assert bundle.default_mode == "beam5_lm"
    lms = LmFiles(lm_path, neural_folder).load(tokenizer)
    sentence = [2, 3, 1, 4]
    assert bundle.lms.ngram.sentence(sentence) == lms.ngram.sentence(sentence)
    scores = lms.neural.sentences([sentence])
    assert bundle.lms.neural.sentences([sentence]) == scores
    # a bundle is a folder of its neural model, for an evaluation's lm.neural
    again = LmFiles(neural=str(with_all)).load(tokenizer).neural
    assert again.sentences([sentence]) == scores


@pytest.mark.parametrize(
    "name", ["lm.safetensors", "lm.safetensors.json", "lm.ngram"]
)
def test_a_damaged_language_model_is_named(with_all, rehash, name):
    content = bytearray((with_all / name).read_bytes())
    content[len(content) // 2] ^= 1
    (with_all / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: is damaged .its SHA-256"):
        load_bundle(with_all)
    rehash(with_all)  # each has a sum of its own besides
    with pytest.raises(UserError, match="damaged"):
        load_bundle(with_all)
    (with_all / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing"):
        load_bundle(with_all)


def test_a_neural_model_of_another_tokenizer_is_refused(
    tmp_path, with_all, neural_folder, rehash
):
    other = CharTokenizer(" abce")
    parts = build_model(ModelConfig.tiny(), 6), other, OPTIONS
    files = LmFiles(neural=neural_folder)
    with pytest.raises(UserError, match="made with another tokenizer"):
        write_bundle(tmp_path / "b", *parts, card=CARD, lm_files=files)
    neural = NeuralLM.load(
        f"{neural_folder}/lm.safetensors", load_bundle(with_all).tokenizer
    )
    neural.save(with_all / "lm.safetensors", other)
    rehash(with_all)
    with pytest.raises(UserError, match="lm.safetensors: .* another tokeniz"):
        load_bundle(with_all)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer", "inference.yaml", "README.md"]
)
def test_a_missing_or_damaged_file_is_named_before_anything_is_parsed(
    folder, name
):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        load_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing"):
        load_bundle(folder)


def test_a_file_the_index_does_not_list_counts_as_missing(folder, rehash):
    index = folder / "bundle.json"
    index.write_text(index.read_text().replace('"tokenizer"', '"README.md"'))
    rehash(folder)
    with pytest.raises(UserError, match="bundle/tokenizer: is missing"):
        load_bundle(folder)


def test_a_folder_that_is_no_bundle(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="is not a bundle"):
            load_bundle(folder)


def test_another_tokenizer_is_refused(folder, rehash):
    CharTokenizer(" abce").save(folder / "tokenizer")
    rehash(folder)
    with pytest.raises(UserError, match="is not the tokenizer that the model"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format_version": 3}, "has format version 3, but .* reads 4; inst"),
        ({"format_version": None}, "does not hold a bundle's settings"),
        ({"text_style": None}, "key 'text_style' is missing"),
        ({"plugin": "x"}, "key 'plugin' is unknown"),
        ({"default_mode": "beam5_lm"}, "yaml: .*beam5_lm needs a language"),
        ({"normalizer_version": "1"}, "'normalizer_version' is no int"),
        ({"decoding": {"beam5": {"width": 5}}}, "yaml: .*unknown key 'width'"),
        ({"model": {"wide": 5}}, "yaml: .*unknown key 'wide'"),
        ({"model": {}}, "weights do not fit the sizes"),
        ({"model": {"d_model": "big"}}, "d_model is 'big'; it must be a whole"),
    ],
)
def test_settings_that_do_not_fit_are_named(edit, folder, changes, message):
    edit(**changes)
    with pytest.raises(UserError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize("content", ["", "- 1", "a: [", "a: 2001-99-99"])
def test_settings_that_are_none(folder, rehash, content):
    (folder / "inference.yaml").write_text(content)
    rehash(folder)
    with pytest.raises(UserError, match="does not hold a bundle's settings"):
        load_bundle(folder)


def test_no_code_is_run(folder, rehash, tmp_path):
    trap = tmp_path / "trap"
    path = folder / "inference.yaml"
    path.write_text(
        path.read_text().replace(
            "text_style: none",
            f"text_style: !!python/object/apply:os.mkdir ['{trap}']",
        )
    )
    rehash(folder)
    with pytest.raises(UserError, match="does not hold a bundle's settings"):
        load_bundle(folder)
    assert not trap.exists()


@pytest.mark.parametrize("damage", ["cut", "vocabulary", "pickle"])
def test_weights_of_something_else(folder, rehash, damage, model):
    path = folder / "model.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "pickle":
        torch.save(model.state_dict(), path)
    else:
        weights = build_model(model.config, 9).state_dict()
        safetensors.torch.save_file(weights, path)
    rehash(folder)
    with pytest.raises(UserError, match="model.safetensors: the weights do no"):
        load_bundle(folder)


def test_another_normaliser_is_worth_a_warning(edit, folder, caplog):
    with caplog.at_level(logging.WARNING):
        load_bundle(folder)
    assert caplog.text == ""
    edit(normalizer_version=0)
    load_bundle(folder)
    assert "error rates cannot be compared" in caplog.text


def test_sizes_come_back(folder, model, tokenizer):
    config = replace(model.config, encoder_layers=3, inter_ctc_layers=[1, 2])
    write_bundle(folder, build_model(config, 6), tokenizer, OPTIONS, card=CARD)
    assert load_bundle(folder).model.config == config


@pytest.mark.parametrize(
    ("with_lm", "mode"), [(True, "beam5_lm"), (False, "beam5")]
)
def test_a_model_without_decoder_has_a_mode_of_its_own(
    tmp_path, tokenizer, lm_path, with_lm, mode
):
    sizes = replace(ModelConfig.tiny(), decoder_layers=0)
    folder = write_bundle(
        tmp_path / "bundle",
        build_model(sizes, tokenizer.size),
        tokenizer,
        OPTIONS,
        card=CARD,
        lm_files=LmFiles(lm_path) if with_lm else None,
    )
    bundle = load_bundle(folder)
    assert bundle.default_mode == mode
    assert bundle.model.decoder is None
    assert bundle.present == bundle.lms.present
