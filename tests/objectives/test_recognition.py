from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from nar_asr_lobes.dataio.batching import Sample
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.synthesis.phones import Lexicon
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.lobes.alignment import token_frames
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.lobes.model import EncoderOutput
from nar_asr_lobes.objectives.recognition import RecognitionObjective
from tests.tones import TONE_TEXTS
from tests.training.runs import (
    ALL_KINDS,
    KINDS,
    TOKENIZER,
    make_batch,
    make_objective,
)

TINY = ModelConfig.tiny()


def sums_of(objective, model, batch, training=False):
    """Sums and counts of a batch, as numbers; codes are not among them."""
    inputs = objective.make_inputs(batch, model)
    sums = objective.losses(model, inputs, training)
    numbers = {n: value.item() for n, value in sums.items() if not value.ndim}
    return numbers, inputs.counts


def built(kind, **options):
    """An objective and its model, in evaluation."""
    torch.manual_seed(0)
    objective = make_objective(kind, **options)
    return objective, objective.build_model(TINY).eval()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_is_the_sum_of_its_utterances(kind, training, tone_clips):
    objective, model = built(kind, spec_augment=SpecAugment())
    batch = make_batch(kind, tone_clips, range(8))
    sums, counts = sums_of(objective, model, batch, training)
    assert sums.keys() >= objective.weights.keys()
    assert sums.keys() <= counts.keys()
    total = dict.fromkeys([*sums, *counts], 0.0)
    counted = dict.fromkeys(counts, 0.0)
    for index in range(8):
        alone = make_batch(kind, tone_clips, [index])
        one, its = sums_of(objective, model, alone, training)
        for name in one:
            total[name] += one[name]
        for name in its:
            counted[name] += its[name]
    assert counted == counts
    for name, value in sums.items():
        assert value == pytest.approx(total[name], rel=1e-5), name


def test_masks_of_the_features_are_for_training_only(kind, tone_clips):
    masked, model = built(kind, spec_augment=SpecAugment())
    plain = make_objective(kind)
    batch = make_batch(kind, tone_clips, range(4))
    assert sums_of(masked, model, batch) == sums_of(plain, model, batch)
    with_masks, without = (
        sums_of(objective, model, batch, training=True)[0]
        for objective in (masked, plain)
    )
    assert with_masks != without


def test_draws_come_from_the_seeds(kind, tone_clips):
    objective, model = built(kind)
    one, same, other = (
        objective.make_inputs(make_batch(kind, tone_clips, [2, 3], seed), model)
        for seed in (4, 4, 5)
    )
    assert torch.equal(one.mask, same.mask)
    assert not torch.equal(one.mask, other.mask)


def test_recognition_losses_are_what_the_model_says(tone_clips):
    objective, model = built("finetune")
    batch = make_batch("finetune", tone_clips, range(4))
    inputs = objective.make_inputs(batch, model)
    sums, counts = sums_of(objective, model, batch)
    encoded = model.encode(batch.wavs, batch.wav_lens)

    def ctc(log_probs):
        return F.ctc_loss(
            log_probs.transpose(0, 1),
            batch.tokens,
            encoded.lengths,
            batch.token_lens,
            reduction="sum",
        ).item()

    assert sums["ctc"] == pytest.approx(ctc(encoded.log_probs), rel=1e-5)
    inter = sum(map(ctc, encoded.inter_log_probs))
    assert len(encoded.inter_log_probs) == 1
    assert sums["inter_ctc"] == pytest.approx(inter, rel=1e-5)
    frames = token_frames(
        encoded.log_probs, encoded.lengths, batch.tokens, batch.token_lens
    )
    seen = batch.tokens.masked_fill(inputs.mask, model.mask_id)
    filled = model.decode(encoded, seen, batch.token_lens, frames)
    filled = filled[inputs.mask]
    targets = batch.tokens[inputs.mask]
    cmlm = F.cross_entropy(
        filled[:, 1:], targets - 1, reduction="sum", label_smoothing=0.1
    )
    assert sums["cmlm"] == pytest.approx(cmlm.item(), rel=1e-5)
    assert sums["accuracy"] == (filled.argmax(-1) == targets).sum().item()
    pieces = batch.token_lens.sum().item()
    assert counts["ctc"] == counts["inter_ctc"] == pieces
    assert counts["cmlm"] == counts["accuracy"] == inputs.mask.sum().item()


def test_inter_ctc_is_the_mean_over_its_layers(tone_clips):
    """Three readings of the same quality weigh as much as one."""
    sizes = TINY.to_dict() | {
        "encoder_layers": 4,
        "inter_ctc_layers": [1, 2, 3],
    }
    objective = make_objective("finetune")
    model = objective.build_model(ModelConfig.from_dict(sizes)).eval()
    batch = make_batch("finetune", tone_clips, range(4))
    _, counts = sums_of(objective, model, batch)
    assert counts["inter_ctc"] == 3 * counts["ctc"] > 0


def test_errors_are_counted_in_validation(tone_clips):
    objective, model = built("finetune")
    batch = make_batch("finetune", tone_clips, range(8))
    sums, counts = sums_of(objective, model, batch)
    encoded = model.encode(batch.wavs, batch.wav_lens)
    paths = greedy_paths(encoded.log_probs, encoded.lengths)
    hypotheses = [TOKENIZER.decode(path.tokens) for path in paths]
    found = score(batch.ids, batch.texts, hypotheses)
    assert sums["wer"] == found.word_errors > 0
    assert sums["cer"] == found.character_errors > 0
    assert counts["cer"] == found.reference_characters
    assert counts["wer"] == sum(len(text.split()) for text in batch.texts)
    in_training = sums_of(objective, model, batch, training=True)[0]
    assert not {"wer", "cer"} & in_training.keys()


def score_of(objective, inputs, texts):
    """The score of a model whose best path spells these texts."""
    batch = inputs.batch
    rows = [TOKENIZER.encode(text) for text in texts]
    frames = 1 + 2 * max(map(len, rows))
    labels = torch.zeros(len(rows), frames, dtype=torch.long)
    for row, tokens in enumerate(rows):
        labels[row, 1 : 2 * len(tokens) : 2] = torch.tensor(tokens)
    scores = 9.0 * F.one_hot(labels, TOKENIZER.size)
    lengths = torch.full((len(rows),), frames)
    encoded = EncoderOutput(scores, lengths, scores.log_softmax(-1), [])
    slots = torch.zeros(*batch.tokens.shape, TOKENIZER.size)
    sums = objective.losses(lambda *_: (encoded, slots), inputs, False)
    return (sums[objective.score] / inputs.counts[objective.score]).item()


def test_letters_without_a_right_word_are_better_than_silence(tone_clips):
    objective, model = built("finetune")
    batch = make_batch("finetune", tone_clips, range(4))
    inputs = objective.make_inputs(batch, model)
    joined = [text.replace(" ", "") for text in batch.texts]
    assert score(batch.ids, batch.texts, joined).wer >= 1
    assert score_of(objective, inputs, [""] * 4) == 1
    assert score_of(objective, inputs, joined) < 0.5
    assert score_of(objective, inputs, batch.texts) == 0


def with_phones():
    """An objective whose intermediate layers learn two phones a word."""
    words = sorted({w for text in TONE_TEXTS for w in text.split()})
    lexicon = Lexicon(
        "none",
        ("p", "t", "k"),
        {word: (1 + i % 3, 1 + (i // 3) % 3) for i, word in enumerate(words)},
    )
    torch.manual_seed(0)
    objective = RecognitionObjective(TOKENIZER, 0.3, 0.5, lexicon=lexicon)
    return objective, objective.build_model(TINY).eval()


def test_intermediate_layers_learn_phones_where_there_is_a_lexicon(tone_clips):
    objective, model = with_phones()
    batch = make_batch("finetune", tone_clips, range(4))
    sums, counts = sums_of(objective, model, batch)
    encoded = model.encode(batch.wavs, batch.wav_lens)
    [inter] = encoded.inter_log_probs
    assert inter.shape[-1] == 4 != TOKENIZER.size
    wanted = 0.0
    for row, length, text in zip(
        inter, encoded.lengths, batch.texts, strict=True
    ):
        units = torch.tensor([objective.lexicon.encode(text)])
        wanted += F.ctc_loss(
            row[:, None],
            units,
            length[None],
            torch.tensor([units.shape[1]]),
            reduction="sum",
        ).item()
    assert sums["inter_ctc"] == pytest.approx(wanted, rel=1e-5)
    assert counts["inter_ctc"] == 2 * sum(len(t.split()) for t in batch.texts)
    assert counts["ctc"] == batch.token_lens.sum().item()


def counted(units_of, frames_of, size):
    """Frequencies of units and of frames without any, one by one, smoothed."""
    counts, frames = [1] * size, 0
    for units, length in zip(units_of, frames_of, strict=True):
        frames += length
        for unit in units:
            counts[unit] += 1
    spoken = sum(counts[1:]) - (size - 1)
    blank = (frames - spoken + 1) / (frames + 2)
    rest = [(1 - blank) * count / sum(counts[1:]) for count in counts[1:]]
    return torch.tensor([blank, *rest])


def test_new_heads_begin_at_the_frequencies_of_their_units(tone_clips):
    objective, model = with_phones()
    clip = tone_clips[0]
    long = Utterance("long", clip.audio, clip.duration, "fever sleep " * 9)
    dataset = SpeechDataset([*tone_clips[:4], long], TOKENIZER)
    batches = [
        dataset.batch([Sample(i, i) for i in part]) for part in ([0, 1], [2, 4])
    ]
    assert not model.ctc_head.bias.any() and not model.inter_head.bias.any()
    objective.init_from_batch(
        model, [objective.make_inputs(b, model) for b in batches]
    )
    texts = [clip.text for clip in tone_clips[:3]]  # not what CTC cannot align
    frames = torch.cat([model.output_lengths(b.samples) for b in batches])[:3]
    for head, encode in (
        (model.ctc_head, TOKENIZER.encode),
        (model.inter_head, objective.lexicon.encode),
    ):
        wanted = counted(
            [list(encode(text)) for text in texts],
            frames.tolist(),
            head.out_features,
        )
        torch.testing.assert_close(head.bias.exp(), wanted)


def test_a_head_that_was_trained_keeps_its_biases(tone_clips):
    objective, model = with_phones()
    model.ctc_head.bias.data[2] = 0.5
    before = model.ctc_head.bias.clone()
    batch = make_batch("finetune", tone_clips, range(4))
    objective.init_from_batch(model, [objective.make_inputs(batch, model)])
    assert torch.equal(model.ctc_head.bias, before)
    assert model.inter_head.bias.all()


def test_phones_of_what_ctc_cannot_align_add_nothing(tone_clips):
    objective, model = with_phones()
    clip = tone_clips[0]
    text = "aspirin weeks fever sleep"  # too many letters, few phones
    other = Utterance("other", clip.audio, clip.duration, text)
    dataset = SpeechDataset([*tone_clips[:3], other], TOKENIZER)
    samples = [Sample(i, 10 + i) for i in range(4)]
    whole, whole_counts = sums_of(objective, model, dataset.batch(samples))
    kept, kept_counts = sums_of(objective, model, dataset.batch(samples[:3]))
    assert whole["inter_ctc"] == pytest.approx(kept["inter_ctc"], rel=1e-5)
    assert whole_counts["inter_ctc"] == kept_counts["inter_ctc"]


@pytest.mark.parametrize("text", ["oo no " * 9, ""], ids=["long", "empty"])
def test_what_ctc_cannot_align_is_counted_and_adds_nothing(text, tone_clips):
    objective, model = built("finetune")
    clip = tone_clips[0]
    other = Utterance("other", clip.audio, clip.duration, text)
    dataset = SpeechDataset([*tone_clips[:3], other], TOKENIZER)
    samples = [Sample(i, 10 + i) for i in range(4)]
    whole, whole_counts = sums_of(
        objective, model, dataset.batch(samples), True
    )
    kept, kept_counts = sums_of(
        objective, model, dataset.batch(samples[:3]), True
    )
    for name in ("ctc", "inter_ctc", "cmlm", "accuracy"):
        assert whole[name] == pytest.approx(kept[name], rel=1e-5), name
        assert whole_counts[name] == kept_counts[name]
    assert (whole["ctc_skipped"], whole_counts["ctc_skipped"]) == (1, 4)
    assert (kept["ctc_skipped"], kept_counts["ctc_skipped"]) == (0, 3)


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("seconds", [0.01, 0.1])
def test_a_batch_of_scraps_gives_zero_and_every_gradient(
    kind, seconds, tone_clips
):
    """Shorter than a frame; under DDP each weight must get its gradient."""
    objective, model = built(kind)
    samples = int(16000 * seconds)
    batch = make_batch(kind, tone_clips, range(2))
    batch = replace(
        batch,
        wavs=batch.wavs[:, :samples],
        wav_lens=torch.ones(2),
        samples=torch.tensor([samples] * 2),
    )
    inputs = objective.make_inputs(batch, model)
    sums = objective.losses(model, inputs, training=True)
    loss = sum(sums[name] for name in objective.weights)
    loss.backward()
    assert loss.item() == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_weights_share_one_between_them(kind):
    weights = make_objective(kind).weights
    weights.pop("unmasked", None)  # comes on top
    assert sum(weights.values()) == pytest.approx(1)


def test_an_intermediate_weight_needs_intermediate_layers():
    config = replace(ModelConfig.tiny(), inter_ctc_layers=[])
    with pytest.raises(UserError, match="inter_weight is above 0, but the m"):
        RecognitionObjective(TOKENIZER, 0.3, 0.5).build_model(config)
    RecognitionObjective(TOKENIZER, 0.3, 0.0).build_model(config)


def test_the_output_size_is_the_tokenizers():
    _, model = built("finetune")
    assert model.vocab_size == TOKENIZER.size == len(TOKENIZER.pieces)


def test_without_weight_for_it_there_is_no_decoder(tone_clips):
    """The rest is as with it, and learns with the whole weight."""
    _, model = built("finetune")
    objective = RecognitionObjective(TOKENIZER, 0.0, 0.5)
    bare = objective.build_model(TINY).eval()
    assert bare.decoder is None and bare.config.decoder_layers == 0
    assert objective.weights == {"ctc": 0.5, "inter_ctc": 0.5}
    missing, others = bare.load_state_dict(model.state_dict(), strict=False)
    assert not missing and all(name.startswith("decoder.") for name in others)
    batch = make_batch("finetune", tone_clips, range(4))
    sums, counts = sums_of(objective, bare, batch)
    whole, whole_counts = sums_of(make_objective("finetune"), model, batch)
    for name in ("cmlm", "accuracy"):
        del whole[name], whole_counts[name]
    assert (sums, counts) == (whole, whole_counts)


def test_a_weight_needs_a_decoder():
    config = replace(TINY, decoder_layers=0)
    with pytest.raises(UserError, match="decoder_weight is above 0, but the m"):
        RecognitionObjective(TOKENIZER, 0.3, 0.5).build_model(config)
    model = RecognitionObjective(TOKENIZER, 0.0, 0.5).build_model(config)
    assert model.decoder is None
