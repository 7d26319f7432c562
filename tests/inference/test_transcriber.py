"""Files of all kinds to text with word times."""

import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding import recognizer
from nar_asr_lobes.decoding.alignment import Word, hypothesis_spans
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.errors import AudioError, UserError
from nar_asr_lobes.evaluation.evaluate import recognize_utterances
from nar_asr_lobes.inference.bundle import Bundle
from nar_asr_lobes.inference.transcriber import (
    Transcriber,
    _Chunk,
    _joined,
)
from nar_asr_lobes.lm.models import LanguageModels, LmFiles

RATE = 16000
LETTER = 0.12  # seconds
FRAME = 0.04
HOT = HotWords.build(["ab"], CharTokenizer("ab"))


@pytest.fixture
def bundle(model, tokenizer):
    lms, options = LanguageModels(), DecodingOptions()
    return Bundle(model, tokenizer, lms, options, "beam5", "none")


@pytest.fixture
def clips(tmp_path, speak):
    """Six texts of different lengths, and their WAV files."""
    texts = ["abc", "d", "ab cd ab cd", "ca", "dd b a", "bad cab dab"]
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], speak(text, 0.003, number), RATE)
    return texts, paths


def texts_of(transcripts):
    return [transcript.text for transcript in transcripts]


def confidences(transcripts):
    return [w.confidence for found in transcripts for w in found.words]


def unsure(transcript):
    """Leave the confidences out, which rounding may change."""
    words = tuple(replace(word, confidence=0.0) for word in transcript.words)
    return replace(transcript, words=words)


def test_files_become_texts_in_order(bundle, clips):
    texts, paths = clips
    found = list(Transcriber(bundle).transcribe(paths))
    assert texts_of(found) == texts
    assert [t.path for t in found] == [str(path) for path in paths]
    for transcript in found:
        assert transcript.error is None
        assert " ".join(w.text for w in transcript.words) == transcript.text
        file = soundfile.info(transcript.path)
        assert transcript.seconds == pytest.approx(file.duration)


def test_word_times_are_where_the_words_are(bundle, clips):
    [_, _, found, *_] = Transcriber(bundle).transcribe(clips[1])
    for number, word in enumerate(found.words):
        start = LETTER * (1 + 3 * number)  # a pause, then words of 2 letters
        assert word.start == pytest.approx(start, abs=2 * FRAME)
        # CTC finds letters, not where they end.
        assert start + LETTER <= word.end <= start + 2 * LETTER + FRAME


@pytest.mark.parametrize(
    "mode",
    [
        "ctc_greedy",
        "nar",
        "beam5",
        "beam5_lm",
        "nar_beam5_lm",
    ],
)
def test_together_equals_one_by_one(
    bundle, tokenizer, lm_path, neural_folder, clips, mode
):
    lms = LmFiles(lm_path, neural_folder).load(tokenizer)
    bundle = replace(bundle, lms=lms)
    one = Transcriber(bundle, mode, batch_seconds=0.001)
    many = Transcriber(bundle, mode)
    alone = list(one.transcribe(clips[1]))
    together = list(many.transcribe(clips[1]))
    assert confidences(together) == pytest.approx(confidences(alone), abs=1e-5)
    assert 0 < min(confidences(together)) <= max(confidences(together)) <= 1
    assert list(map(unsure, together)) == list(map(unsure, alone))


def test_batches_keep_to_their_limit_and_mix_files(bundle, clips, monkeypatch):
    transcriber = Transcriber(bundle, batch_seconds=2.0)
    shapes = []
    encode = bundle.model.encode

    def watched(wavs, wav_lens):
        shapes.append(tuple(wavs.shape))
        return encode(wavs, wav_lens)

    monkeypatch.setattr(bundle.model, "encode", watched)
    assert texts_of(transcriber.transcribe(clips[1])) == clips[0]
    assert max(count for count, _ in shapes) > 1
    assert all(n * size <= 2 * RATE for n, size in shapes if n > 1)


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.flac", {}),
        ("a.mp3", {}),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("8k.wav", {"rate": 8000}),
        ("44k.flac", {"rate": 44100}),
        ("stereo.wav", {"channels": 2}),
        ("8k-stereo.mp3", {"rate": 8000, "channels": 2}),
    ],
)
def test_every_format_gives_the_same_text(
    bundle, tmp_path, speak, name, options
):
    options = dict(options)
    rate = options.pop("rate", RATE)
    wav = speak("bad cab dab", 0.001)
    places = np.arange(int(len(wav) / RATE * rate)) * RATE / rate
    # Bands above 4 kHz are empty, so that this resampling is good enough.
    wav = np.interp(places, np.arange(len(wav)), wav)
    wav = np.stack([wav] * options.pop("channels", 1), axis=1)
    soundfile.write(tmp_path / name, wav, rate, **options)
    [found] = Transcriber(bundle).transcribe([tmp_path / name])
    assert (found.error, found.text) == (None, "bad cab dab")


def test_long_audio_is_read_to_its_end(bundle, tmp_path, speak):
    rng = random.Random(4)
    words = ["".join(rng.choices("abcd", k=3)) for _ in range(130)]
    wav = np.concatenate([speak(word, 0.001) for word in words])
    assert 3 * 25 < len(wav) / RATE < 100
    soundfile.write(tmp_path / "long.flac", wav, RATE)
    [found] = Transcriber(bundle).transcribe([tmp_path / "long.flac"])
    assert found.text.split() == words
    assert [word.text for word in found.words] == words
    for number, word in enumerate(found.words):
        start = LETTER * (5 * number + 1)
        assert word.start == pytest.approx(start, abs=2 * FRAME)


def test_posteriors_come_in_pieces_of_the_length_asked_for(bundle, tmp_path):
    wav = np.random.default_rng(0).normal(scale=0.1, size=160_000)
    soundfile.write(tmp_path / "long.wav", wav, 16000)
    transcriber = Transcriber(bundle, device="cpu")
    pieces = list(transcriber.posteriors(str(tmp_path / "long.wav"), 3))
    lengths = [len(piece) for _, piece, _ in pieces]
    assert max(lengths) <= 48_000 and sum(lengths) == 160_000
    starts = np.cumsum([0, *lengths[:-1]]) / 16000
    assert [start for start, _, _ in pieces] == pytest.approx(starts)


def test_silence_in_between_leaves_one_space(bundle, tmp_path, speak):
    pause = np.zeros(60 * RATE, dtype=np.float32)
    wav = np.concatenate([speak("bad", 0.001), pause, speak("cab", 0.001)])
    soundfile.write(tmp_path / "pause.flac", wav, RATE)
    [found] = Transcriber(bundle).transcribe([tmp_path / "pause.flac"])
    assert " " in found.text
    assert found.text.split() == found.text.split(" ")


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["今天", "", "很好"], "今天很好"),
        (["今天", "ok", "很好"], "今天 ok 很好"),
        (["it is", "", "warm"], "it is warm"),
    ],
)
def test_texts_of_a_file_are_joined_as_its_script_is_written(texts, joined):
    chunks = [
        _Chunk(0.0, np.zeros(0), text, [Word(text, 0.0, 1.0, 1.0)])
        for text in texts
    ]
    assert _joined(chunks) == joined
    assert chunks[2].words[0].space_before == (" " in joined)


def test_a_bad_file_is_reported_and_the_others_are_done(
    bundle, clips, tmp_path
):
    texts, paths = clips
    (tmp_path / "empty.wav").touch()
    (tmp_path / "notes.wav").write_text("no audio at all")
    soundfile.write(
        tmp_path / "nan.wav", np.full(800, np.nan), RATE, subtype="FLOAT"
    )
    bad = [tmp_path / name for name in ("empty.wav", "notes.wav", "nan.wav")]
    bad.append(tmp_path / "nowhere.wav")
    mixed = [x for pair in zip(paths, bad, strict=False) for x in pair]
    found = list(Transcriber(bundle).transcribe(mixed))
    assert texts_of(found[::2]) == texts[:4]
    for transcript, path in zip(found[1::2], bad, strict=True):
        assert transcript.error.startswith(f"{path}: ")
        assert "\n" not in transcript.error
        assert (transcript.text, transcript.words) == ("", ())


def test_a_file_beyond_the_limit_is_reported(bundle, clips):
    [found] = Transcriber(bundle, max_seconds=0.1).transcribe(clips[1][:1])
    assert "longer than the limit of 0.1 s" in found.error


def test_a_fault_at_the_end_of_a_long_file(bundle, clips, tmp_path, speak):
    wav = np.concatenate([speak("bad cab", 0.001)] * 60)
    wav[-RATE] = np.nan
    path = tmp_path / "long.wav"
    soundfile.write(path, wav, RATE, subtype="FLOAT")
    transcriber = Transcriber(bundle, batch_seconds=1.0)
    found = list(transcriber.transcribe([clips[1][0], path, clips[1][1]]))
    assert texts_of(found) == [clips[0][0], "", clips[0][1]]
    assert "not finite" in found[1].error and found[1].seconds == 0


def test_only_pieces_of_a_long_file_are_held(bundle, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros((150 * RATE, 2)), RATE)
    tracemalloc.start()
    transcriber = Transcriber(bundle, "ctc_greedy", batch_seconds=2.0)
    [found] = transcriber.transcribe([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.seconds, found.error) == (150.0, None)
    assert peak < 9e6  # the file holds 19 MB as float32


def test_faults_that_leave_it_usable_are_warnings(bundle, tmp_path, speak):
    wav = speak("bad cab dab", 0.001)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([wav, -wav], axis=1), RATE)
    [found] = Transcriber(bundle).transcribe([path])
    assert (found.error, found.text) == (None, "bad cab dab")
    (warning,) = found.warnings
    assert warning.startswith(f"{path}: has channels of opposite phase; ")


@pytest.mark.parametrize("samples", [1, 399, 3000, 16000])
@pytest.mark.parametrize("mode", ["ctc_greedy", "nar", "beam5"])
def test_audio_too_short_or_silent_is_an_empty_text(
    bundle, tmp_path, samples, mode
):
    soundfile.write(tmp_path / "a.wav", np.zeros(samples), RATE)
    [found] = Transcriber(bundle, mode).transcribe([tmp_path / "a.wav"])
    assert (found.text, found.words, found.error) == ("", (), None)
    assert found.seconds == samples / RATE


@pytest.mark.parametrize("seconds", [0.1, 0.36, 0.6])
def test_a_tight_clip_is_heard_as_in_an_evaluation(
    bundle, speak, tmp_path, seconds, monkeypatch
):
    """The same silence is around it, and no word lies outside the file."""
    path = tmp_path / "c.wav"
    count = round(seconds * RATE)
    soundfile.write(path, speak("cabcd")[1920 : 1920 + count], RATE)
    transcriber = Transcriber(bundle)
    heard, encode = [], bundle.model.encode
    monkeypatch.setattr(
        bundle.model,
        "encode",
        lambda wavs, *rest: heard.append(wavs) or encode(wavs, *rest),
    )
    [found] = transcriber.transcribe([path])
    row = Utterance("c", str(path), seconds)
    [other] = recognize_utterances(
        transcriber.recognizer, [row], ["beam5"]
    ).modes.values()
    assert torch.equal(*heard) and heard[0].shape[1] > 12000
    assert (found.text, found.seconds) == (other.texts[0], seconds)
    for word in found.words:
        assert 0 <= word.start < word.end <= seconds
    assert seconds == 0.1 or found.words[0].start <= 2 * FRAME


def test_results_come_before_all_files_are_read(bundle, clips):
    read = []

    def paths():
        for path in clips[1]:
            read.append(path)
            yield path

    transcriber = Transcriber(bundle, batch_seconds=0.1)
    assert next(transcriber.stream(paths())).text == clips[0][0]
    assert len(read) < len(clips[1])


def test_searching_while_encoding_changes_nothing(
    bundle, clips, tmp_path, monkeypatch
):
    """With files that are bad, empty, or in the middle of several batches."""
    cut = tmp_path / "cut.flac"
    cut.write_bytes(b"fLaC")
    paths = [tmp_path / "no.wav", *clips[1], cut, *clips[1][:2]]
    transcriber = Transcriber(bundle, batch_seconds=0.5)
    in_turn = list(transcriber.transcribe(paths))
    monkeypatch.setattr(recognizer, "_batches_ahead", lambda device: 1)
    assert list(transcriber.transcribe(paths)) == in_turn
    assert [t.path for t in in_turn] == list(map(str, paths))
    assert [bool(t.error) for t in in_turn].count(True) == 2


def test_no_files_no_transcripts(bundle):
    assert Transcriber(bundle).transcribe([]) == []


def test_one_input_gives_one_transcript(bundle, clips):
    texts, paths = clips
    transcriber = Transcriber(bundle)
    for path in (paths[0], str(paths[0])):
        assert transcriber.transcribe(path).text == texts[0]
    assert transcriber.transcribe(paths[:1])[0].text == texts[0]


def test_the_only_input_that_cannot_be_read_is_an_error(bundle):
    with pytest.raises(AudioError, match="^gone.wav: is missing; check the p"):
        Transcriber(bundle).transcribe("gone.wav")


def test_arrays_are_transcribed_as_their_files(bundle, clips):
    texts, paths = clips
    transcriber = Transcriber(bundle)
    files = transcriber.transcribe(paths)
    wavs = [soundfile.read(path)[0] for path in paths]
    arrays = [*wavs[:3], *map(torch.from_numpy, wavs[3:])]
    found = transcriber.transcribe(arrays, sample_rate=RATE)
    assert [replace(t, path="array") for t in files] == found
    mixed = transcriber.transcribe([wavs[0], paths[1]], sample_rate=RATE)
    assert texts_of(mixed) == texts[:2]
    [bad, good] = transcriber.transcribe([np.zeros(0), wavs[1]], RATE)
    assert "holds no samples" in bad.error and good.text == texts[1]


def test_an_array_at_8_khz_in_two_channels(bundle, tmp_path, speak):
    wav = speak("bad cab dab", 0.001)
    halved = torch.from_numpy(wav).reshape(-1, 2).mean(1)
    wav = torch.stack([halved, halved], 1)
    soundfile.write(tmp_path / "a.wav", wav, 8000, subtype="FLOAT")
    transcriber = Transcriber(bundle)
    found = transcriber.transcribe(wav, sample_rate=8000)
    file = transcriber.transcribe(tmp_path / "a.wav")
    assert found == replace(file, path="array")
    assert found.text == "bad cab dab"


def test_an_array_needs_its_sample_rate(bundle):
    transcriber = Transcriber(bundle)
    for source in (np.zeros(900), [torch.zeros(900)]):
        with pytest.raises(UserError, match="give it in Hz"):
            transcriber.transcribe(source)


@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_prefers_a_gpu(bundle, monkeypatch, has_gpu):
    moved, zeros = [], torch.zeros
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: zeros(1))
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda self, to: moved.append(to) or self
    )
    device = Transcriber(bundle).device
    assert moved == [device] and device.type == ["cpu", "cuda"][has_gpu]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"mode": "beam6"}, "'beam6'; choose from ctc_greedy, nar"),
        ({"mode": "beam5_lm"}, "bundle has none, so use beam5"),
        ({"mode": "nar", "hot_words": HOT}, "nar does not use hot words"),
        ({"device": "abacus"}, "device 'abacus' cannot be used on this mach"),
        ({"device": "cuda:99"}, "'cuda:99' cannot .*; choose auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(bundle, arguments, message):
    with pytest.raises(UserError, match=message):
        Transcriber(bundle, **arguments)


def test_equal_neighbours_of_the_decoder_share_their_frames():
    """CTC needs a blank between equal tokens; the decoder does not."""
    log_probs = torch.full((3, 3), 0.01)
    log_probs[[0, 1, 2], [1, 1, 2]] = 0.98
    possible = Hypothesis((1, 2), score=-1.0, ctc=-1.0)
    not_possible = Hypothesis((1, 1, 2, 2), score=-1.0, ctc=float("-inf"))
    first, last = hypothesis_spans(log_probs.log(), possible)
    assert hypothesis_spans(log_probs.log(), not_possible) == (
        [first, first, last, last]
    )
