"""Tiny trees of published corpora: their names, columns, encodings, odd rows.

words -> tone speech -> files and tables as their archives hold them
"""

import json
import random
from pathlib import Path

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE
from tests.recipes.librispeech_tree import (
    make_librispeech,
    say,
    sentence,
)
from tests.tones import tone_speech

SIZES = {"train": 8, "dev": 3, "test": 3}
CV_COLUMNS = (
    "client_id",
    "path",
    "sentence_id",
    "sentence",
    "sentence_domain",
    "up_votes",
    "down_votes",
    "age",
    "gender",
    "accents",
    "variant",
    "locale",
    "segment",
)
AFRISPEECH_COLUMNS = (
    "idx",
    "user_ids",
    "accent",
    "age_group",
    "country",
    "transcript",
    "nchars",
    "audio_ids",
    "audio_paths",
    "duration",
    "origin",
    "domain",
    "split",
    "gender",
)
VOXPOPULI_COLUMNS = (
    "id",
    "raw_text",
    "normalized_text",
    "speaker_id",
    "split",
    "gender",
    "is_gold_transcript",
    "accent",
)


def sentences(seed: str, count: int) -> list[str]:
    """Draw sentences, the same for the same seed."""
    rng = random.Random(seed)
    return [sentence(rng) for _ in range(count)]


def write_table(path: Path, columns, rows) -> None:
    """Write rows (dicts) as tab-separated values, as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [[row.get(name, "") for name in columns] for row in rows]
    text = "\n".join("\t".join(line) for line in [columns, *lines])
    path.write_text(text + "\n", encoding="utf-8")


def make_commonvoice(root: Path) -> Path:
    """Write the tables and clips of one language, as from version 17 on.

    ``validated`` has the rows of all splits and two more of a train speaker;
    three rows of train are odd: a quote, no sentence, a clip of no length.
    """
    every, seconds = [], []
    for split, count in SIZES.items():
        rows = []
        for number, text in enumerate(sentences(f"cv {split}", count + 2)):
            clip = f"common_voice_cy_{split}{number:03d}.mp3"
            rows.append(
                {
                    "client_id": f"{split}{number % 3}" * 16,
                    "path": clip,
                    "sentence": f'"{text}' if not number else text,
                    "up_votes": "2",
                    "down_votes": "0",
                    "age": "thirties" if number % 2 else "",
                    "gender": "female_feminine",
                    "accents": "United States English, Welsh",
                    "locale": "cy",
                }
            )
            wav = np.repeat(tone_speech(f" {text} "), 2)
            (root / "clips").mkdir(parents=True, exist_ok=True)
            soundfile.write(root / "clips" / clip, wav, 2 * SAMPLE_RATE)
            seconds.append({"clip": clip, "duration[ms]": str(len(wav) // 32)})
        every += rows
        write_table(root / f"{split}.tsv", CV_COLUMNS, rows[:count])
    odd = [dict(every[1], path=f"odd{i}.mp3") for i in range(2)]
    odd[0]["sentence"] = ""
    seconds.append({"clip": "odd1.mp3", "duration[ms]": "0"})
    train = every[: SIZES["train"]] + odd
    write_table(root / "train.tsv", CV_COLUMNS, train)
    write_table(root / "validated.tsv", CV_COLUMNS, every)
    write_table(root / "clip_durations.tsv", ("clip", "duration[ms]"), seconds)
    return root


def textgrid(intervals, seconds: float, tabs: bool = True) -> bytes:
    """Write one tier of (start, end, text) in the long form, with CRLF.

    Both styles of indentation are found in PriMock57.
    """
    step, after = ("\t", "") if tabs else ("    ", " ")
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        f"xmin = 0{after}",
        f"xmax = {seconds}{after}",
        "tiers? <exists> ",
        f"size = 1{after}",
        "item []: ",
        f"{step}item [1]:",
        f'{2 * step}class = "IntervalTier"{after}',
        f'{2 * step}name = "Speaker"{after}',
        f"{2 * step}xmin = 0 ",
        f"{2 * step}xmax = {seconds}{after}",
        f"{2 * step}intervals: size = {len(intervals)}{after}",
    ]
    for number, (start, end, text) in enumerate(intervals, 1):
        quoted = text.replace('"', '""')
        lines += [
            f"{2 * step}intervals [{number}]:{after}",
            f"{3 * step}xmin = {start}{after}",
            f"{3 * step}xmax = {end}{after}",
            f'{3 * step}text = "{quoted}"{after}',
        ]
    return "\r\n".join([*lines, ""]).encode()


TAGGED = ("<UNSURE>{}</UNSURE>.", "{}, <UNIN/>", "{}<INAUDIBLE_SPEECH/>", "{}?")


def make_primock(root: Path) -> Path:
    """Write a consultation for each day, and one that is left out."""
    for day in (1, 2, 3, 4, 5):
        for consultation in ("01", "07") if day == 1 else ("01",):
            for role in ("doctor", "patient"):
                name = f"day{day}_consultation{consultation}_{role}"
                _consultation(root, name, tabs=day % 2 == 0)
    return root


def _consultation(root: Path, name: str, tabs: bool) -> None:
    texts = sentences(name, len(TAGGED))
    path = root / "audio" / f"{name}.wav"
    seconds = say(path, "   ".join(texts))
    place, intervals = 0.0, []
    for text, tag in zip(texts, TAGGED, strict=True):
        end = place + 0.12 * (len(text) + 2)
        intervals += [
            (place, end, tag.format(text.capitalize())),
            (end, end + 0.12, ""),
        ]
        place = end + 0.12
    intervals[-1] = (*intervals[-1][:2], "<UNIN/>")
    (root / "transcripts").mkdir(exist_ok=True)
    content = textgrid(intervals, seconds, tabs)
    (root / "transcripts" / f"{name}.TextGrid").write_bytes(content)


def make_afrispeech(root: Path) -> Path:
    """Write a table for each accent and split, and clips of 44.1 kHz.

    Train has a row twice and one without audio; texts have quotes and commas.
    """
    for split, count in SIZES.items():
        for accent in ("yoruba", "akan-fante"):
            rows = []
            for number, text in enumerate(
                sentences(f"{accent} {split}", count)
            ):
                name = f"{accent}-{split}/{number:032d}"
                wav = tone_speech(f" {text} ")
                times = np.arange(len(wav) * 44100 // SAMPLE_RATE) / 44100
                wav = np.interp(times, np.arange(len(wav)) / SAMPLE_RATE, wav)
                path = root / "audio" / accent / split / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wav, 44100)
                rows.append(
                    {
                        "user_ids": f"{accent}{split}{number % 2}",
                        "accent": accent.replace("-fante", " (fante)"),
                        "age_group": "26-40",
                        "country": "NG",
                        "transcript": f'{text.capitalize()} , "ten" .',
                        "audio_ids": name,
                        "audio_paths": f"/AfriSpeech-100/{split}/{name}.wav",
                        "duration": str(len(wav) / 44100),
                        "domain": ("clinical", "general")[number % 2],
                        "split": split,
                        "gender": "Female",
                    }
                )
            if split == "train":
                lost = {"audio_paths": "/data/data/intron/x/lost.wav"}
                rows += [rows[0], {**rows[0], **lost}]
            path = root / "transcripts" / accent / f"{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_csv(AFRISPEECH_COLUMNS, rows), encoding="utf-8")
    return root


def _csv(columns, rows) -> str:
    """Quote every field, as spreadsheets may."""
    lines = [columns, *([row.get(x, "") for x in columns] for row in rows)]
    quoted = [
        ",".join('"{}"'.format(field.replace('"', '""')) for field in line)
        for line in lines
    ]
    return "\r\n".join([*quoted, ""])


def make_finetuning(root: Path) -> Path:
    """Write librispeech_finetuning: two folds of 1h, and 9h."""
    for number, part in enumerate(("1h/0", "1h/1", "9h")):
        for kind in ("clean", "other"):
            name = f"{300 + 10 * number + (kind == 'other')}-7"
            folder = root / "librispeech_finetuning" / part / kind
            folder /= name.replace("-", "/")
            lines = []
            for count, text in enumerate(sentences(f"{part} {kind}", 2)):
                say(folder / f"{name}-{count:04d}.flac", text)
                lines.append(f"{name}-{count:04d} {text.upper()}\n")
            (folder / f"{name}.trans.txt").write_text("".join(lines))
    return root


def make_librispeech_and_labels(root: Path) -> Path:
    """Write LibriSpeech and the labels of Libri-Light below it."""
    return make_finetuning(make_librispeech(root))


def make_librilight(root: Path) -> Path:
    """Write chapters longer than 20 s, the labels, and the test sets."""
    for name in ("small", "medium", "large"):
        for speaker in (f"{len(name)}0", f"{len(name)}1"):
            book = root / name / speaker / "a_book_64kb_mp3"
            text = "  ".join(sentences(f"{name} {speaker}", 3))
            say(book / "chapter_01_64kb.flac", text)
            meta = {"speaker": speaker, "snr": 5.4, "voice_activity": [[0, 1]]}
            (book / "chapter_01_64kb.json").write_text(json.dumps(meta))
    splits = ("dev-clean", "dev-other", "test-clean", "test-other")
    return make_finetuning(make_librispeech(root, splits, chapters=1))


def make_voxpopuli(root: Path) -> Path:
    """Write whole sessions of two years, and transcribed pieces of others."""
    labelled = root / "transcribed_data" / "en"
    for number, (split, count) in enumerate(SIZES.items()):
        rows = []
        for piece, text in enumerate(sentences(f"vox {split}", count)):
            event = f"201{number}0119-0900-PLENARY"
            name = f"{event}-3-en_201{number}0119-17:12:3{piece}_{piece}"
            rows.append(
                {
                    "id": name,
                    "raw_text": f'{text.capitalize()}, "he said".',
                    "normalized_text": text,
                    "speaker_id": "None" if piece else "124737",
                    "split": split,
                    "gender": "female",
                    "is_gold_transcript": "True",
                    "accent": "None",
                }
            )
            say(labelled / name[:4] / f"{name}.ogg", text)
        rows.append({**rows[0], "id": f"{event}-en_x", "normalized_text": ""})
        write_table(labelled / f"asr_{split}.tsv", VOXPOPULI_COLUMNS, rows)
        raw = root / "raw_audios" / "en" / f"201{number}"
        for session in ("3", "4"):
            text = "  ".join(sentences(f"{split} {session}", 3))
            say(raw / f"201{number}0119-0900-PLENARY-{session}_en.ogg", text)
    return root


def make_dictation(root: Path, canary: str = "") -> Path:
    """Write a table of dictations of six physicians, without splits.

    The canary, letters that have tones, is in every file name, speaker's name
    and text. One more file is damaged, and one has no text.
    """
    rows = []
    for speaker in range(6):
        for number, text in enumerate(sentences(f"dictation {speaker}", 3)):
            text = f"{text} {canary}".strip()
            name = f"{canary}{speaker}-{number}.wav"
            say(root / "audio" / name, text)
            rows.append(
                {
                    "audio": f"audio/{name}",
                    "transcript": text,
                    "speaker": f"Dr {canary}{speaker}",
                    "specialty": ("radiology", "cardiology")[speaker % 2],
                    "device": "headset, USB",
                }
            )
    for name in ("damaged", "silent"):
        say(root / "audio" / f"{canary}{name}.wav", "ten")
        rows.append({**rows[0], "audio": f"audio/{canary}{name}.wav"})
    (root / "audio" / f"{canary}damaged.wav").write_bytes(b"no audio" * 9)
    rows[-1]["transcript"] = ""
    (root / "dictations.csv").write_text(
        _csv(tuple(rows[0]), rows), encoding="utf-8"
    )
    return root


def make_manifests(root: Path) -> Path:
    """Write NeMo manifests of three splits."""
    for split, count in SIZES.items():
        lines = []
        for number, text in enumerate(sentences(f"nemo {split}", count)):
            name = f"{split}/{number}.flac"
            seconds = say(root / name, text)
            record = {
                "audio_filepath": name,
                "duration": round(seconds, 2),
                "text": text,
                "speaker": number % 2,
            }
            lines.append(json.dumps(record) + "\n")
        (root / f"{split}_manifest.jsonl").write_text("".join(lines))
    return root


def make_multi(root: Path) -> Path:
    """Write the three corpora of the mix."""
    make_librispeech(root / "LibriSpeech", chapters=1)
    make_commonvoice(root / "cv-corpus" / "en")
    make_dictation(root / "dictation")
    return root
