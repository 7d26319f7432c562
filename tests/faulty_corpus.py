"""A corpus with a fault of every kind, and one word in all its names and texts.

row -> add -> lines -> write -> train.csv, dev.jsonl, test.tsv and clips
"""

import json

import numpy as np
import soundfile

CANARY = "quokka"  # in every text, file name, id and speaker
LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLUMNS = ("id", "audio", "text", "speaker", "start", "duration")


class Corpus:
    """A folder with train.csv, dev.jsonl and test.tsv, a line at a time."""

    def __init__(self, folder, sound=3):
        (folder / CANARY).mkdir(parents=True)
        self.folder = folder
        self.lines = {"train.csv": [], "dev.jsonl": [], "test.tsv": []}
        self.made = 0
        for table in self.lines:
            for _ in range(sound):
                self.add(table, self.row())
        # The default tokenizer is made of train.
        self.lines["train.csv"][0]["text"] = f"{CANARY} {LETTERS}"

    def row(self, wav=None, rate=16000, ending="wav", **changes):
        """Describe a new clip, whose audio, text and id nobody else has."""
        self.made += 1
        number = f"{LETTERS[self.made // 26]}{LETTERS[self.made % 26]}"
        name = f"{CANARY}{number}.{ending}"
        if isinstance(wav, bytes):
            (self.folder / name).write_bytes(wav)
        else:
            wav = self.noise() if wav is None else wav
            path = self.folder / name
            soundfile.write(path, wav, rate, subtype="FLOAT", format="WAV")
        found = dict.fromkeys(COLUMNS, "")
        found |= {"id": f"{CANARY}-{number}", "audio": name}
        found |= {"text": f"{CANARY} {number}", "speaker": f"{CANARY}-{number}"}
        return found | changes

    def noise(self, samples=16000):
        return np.random.default_rng(self.made).uniform(-0.1, 0.1, samples)

    def cut(self, keep):
        """The bytes of a clip of a second without its end."""
        path = self.folder / "whole.wav"
        soundfile.write(path, self.noise(), 16000, subtype="PCM_16")
        return path.read_bytes()[: 44 + round(32000 * keep)]

    def add(self, table, line):
        """Add a line, and return its FILE:LINE."""
        self.lines[table].append(line)
        header = table != "dev.jsonl"
        path = self.folder / table
        return f"{path}:{len(self.lines[table]) + header}"

    def write(self):
        for table, lines in self.lines.items():
            with open(self.folder / table, "wb") as file:
                separator = "\t" if table == "test.tsv" else ","
                if table != "dev.jsonl":
                    lines = [dict(zip(COLUMNS, COLUMNS, strict=True)), *lines]
                for line in lines:
                    file.write(_bytes(line, separator, table) + b"\n")


def _bytes(line, separator, table):
    if isinstance(line, bytes):
        return line
    if table == "dev.jsonl":
        kept = {key: x for key, x in line.items() if x != ""}
        return json.dumps(kept).encode()
    return separator.join(line.values()).encode()


def nan_at_7(corpus):
    wav = corpus.noise()
    wav[7] = np.nan
    return wav


def first(corpus, **changes):
    """Describe another clip, but with some of train's first line."""
    line = corpus.lines["train.csv"][0]
    return corpus.row(**{key: line[key] for key in changes})


ACROSS = "as an utterance of another split"
PLANTED = [  # table, problem, line
    ("train.csv", "2 fields instead of 6", lambda c: b"a,b"),
    ("test.tsv", "3 fields instead of 6", lambda c: b"a\tb\tc"),
    ("train.csv", "the audio is missing", lambda c: c.row(audio="")),
    ("train.csv", "its id stands in line 2 too", lambda c: first(c, id=1)),
    (
        "train.csv",
        "the duration is not a number of seconds",
        lambda c: c.row(duration="long"),
    ),
    ("train.csv", "the duration is 0 s", lambda c: c.row(duration="0")),
    (
        "train.csv",
        "it has a start, but neither end nor duration",
        lambda c: c.row(start="0.5"),
    ),
    ("dev.jsonl", "is not valid JSON", lambda c: b'{"id": '),
    ("dev.jsonl", "is not a JSON object", lambda c: b"[1, 2]"),
    ("dev.jsonl", "the text is not a string", lambda c: c.row(text=7)),
    (
        "dev.jsonl",
        "is not UTF-8 text (byte 9 of the line)",
        lambda c: (
            json.dumps({"id": "#", **c.row(id="#")})
            .replace("#", "\udce9", 1)
            .encode(errors="surrogateescape")
        ),
    ),
    ("train.csv", "is missing", lambda c: c.row(audio=f"no{CANARY}.wav")),
    ("train.csv", "is a folder", lambda c: c.row(audio=f"{CANARY}/")),
    ("train.csv", "is empty (0 bytes)", lambda c: c.row(b"")),
    ("test.tsv", "cannot be read as audio", lambda c: c.row(b"no sound" * 99)),
    ("train.csv", "has no header", lambda c: c.row(ending="raw")),
    ("dev.jsonl", "is cut short", lambda c: c.row(c.cut(keep=0.5))),
    (
        "train.csv",
        "ends a little before its header says",
        lambda c: c.row(c.cut(keep=0.98)),
    ),
    (
        "train.csv",
        "has samples that are not finite numbers (NaN or infinite)",
        lambda c: c.row(nan_at_7(c)),
    ),
    (
        "train.csv",
        "has samples beyond 8 times full scale",
        lambda c: c.row(c.noise() * 1e6),
    ),
    ("test.tsv", "holds no samples", lambda c: c.row(np.zeros(0))),
    (
        "train.csv",
        "holds no samples",
        lambda c: c.row(start="5", duration="1"),
    ),
    (
        "dev.jsonl",
        "is not as long as its manifest says",
        lambda c: c.row(duration=2.0),
    ),
    (
        "train.csv",
        "is longer than the limit of 3 s",
        lambda c: c.row(c.noise(64000)),
    ),
    (
        "test.tsv",
        "has a transcript, but its samples are all equal (silence)",
        lambda c: c.row(np.zeros(16000)),
    ),
    ("test.tsv", "is nearly silent", lambda c: c.row(c.noise() / 1000)),
    (
        "train.csv",
        "is clipped",
        lambda c: c.row(np.clip(c.noise() * 20, -1, 1)),
    ),
    (
        "dev.jsonl",
        "has a sample rate below 16000 Hz",
        lambda c: c.row(c.noise(8000), rate=8000),
    ),
    (
        "train.csv",
        "has a sample rate outside 1000 to 768000 Hz",
        lambda c: c.row(rate=500),
    ),
    (
        "train.csv",
        "has channels of opposite phase",
        lambda c: c.row(np.outer(c.noise(), [1, -1])),
    ),
    ("train.csv", "has an empty transcript", lambda c: c.row(text="")),
    (
        "dev.jsonl",
        "has characters outside the tokenizer in its transcript",
        lambda c: c.row(text=f"{CANARY} é"),
    ),
    (
        "train.csv",
        "has a target longer than CTC can align",
        lambda c: c.row(text=f"{CANARY} {LETTERS} {LETTERS}"),
    ),
    (
        "train.csv",
        "has invisible characters in its transcript",
        lambda c: c.row(text=f"{CANARY} in\u200bvisible"),
    ),
    ("dev.jsonl", f"has the same audio {ACROSS}", lambda c: first(c, audio=1)),
    ("dev.jsonl", f"has the same text {ACROSS}", lambda c: first(c, text=1)),
    (
        "test.tsv",
        "is by a speaker of another split",
        lambda c: first(c, speaker=1),
    ),
    (
        "train.csv",
        "has the same audio as another utterance, but another text",
        lambda c: first(c, audio=1),
    ),
    (
        "train.csv",
        "has the same audio as another utterance",
        lambda c: first(c, audio=1, text=1),
    ),
]
WARNINGS = {
    "ends a little before its header says",
    "has channels of opposite phase",
    "has invisible characters in its transcript",
    "has a sample rate below 16000 Hz",
    "has the same audio as another utterance",
    f"has the same text {ACROSS}",
    "is clipped",
    "is nearly silent",
}
