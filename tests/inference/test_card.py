"""The README of a bundle."""

from nar_asr_lobes.dataio.text.wer import score
from nar_asr_lobes.evaluation.report import ModeResult, to_dict
from nar_asr_lobes.inference.card import BundleCard


def test_card_tells_data_numbers_commands_and_limits():
    counts = score(["u1"], ["no chest pain today"], ["no chest pain"])
    text = BundleCard(
        title="Clinic",
        trained_on="2.9 h of clinical speech",
        tested_on="40 minutes of other speakers",
        results=to_dict([ModeResult("nar", counts, 0.5, 10.0, left_out=2)]),
        language_models=["A Transformer.", "A bigram."],
        commands=["python train.py hparams/finetune.yaml"],
        limits=["Not tested on children.", "English only."],
    ).markdown()
    assert text.startswith("# Clinic\n")
    assert "```bash\npython train.py hparams/finetune.yaml\n```" in text
    assert "2.9 h of clinical speech" in text
    assert "On 40 minutes of other speakers:\n\n| mode | WER %" in text
    assert "| nar | 25.00 | 31.58 | 1 of 3 | 0.050 |" in text
    assert text.endswith("- Not tested on children.\n- English only.\n")
    assert "## Language models\n\n- A Transformer.\n- A bigram.\n" in text
    assert "nar-asr transcribe" in text


def test_without_spaces_the_character_error_rate_comes_first():
    counts = score(["u1"], ["今天天气很好"], ["今天天汽很好"])
    results = to_dict([ModeResult("nar", counts, 0.5, 10.0)])
    text = BundleCard("Clinic", results=results).markdown()
    assert "| mode | CER % | WER % | utterances scored |" in text
    assert "| nar | 16.67 | 100.00 | 1 of 1 | 0.050 |" in text


def test_what_is_not_known_is_said():
    text = BundleCard("Clinic").markdown()
    assert text.count("Not stated.") == 3
    assert text.count("Not measured.") == 1
    assert "## Language models\n\nNone.\n" in text
