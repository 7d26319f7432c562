"""Lengths of MP3 files without headers, as read here and by ffmpeg.

    python benchmarks/audio_formats.py [AUDIO...]

Encodes each recording (none: synthetic speech-like noise) at several rates
with constant and variable bit rate, without Xing header and ID3 tag, reads the
files and prints how many were refused and how far lengths differ from ffmpeg's.
Needs ffmpeg.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.reading import AudioError, read_audio

RATES = [8000, 16000, 22050, 44100, 48000]
QUALITIES = [["-b:a", "32k"], ["-b:a", "64k"], ["-q:a", "9"]]
QUALITIES += [["-q:a", "5"], ["-q:a", "2"], ["-abr", "1", "-b:a", "48k"]]


def synthetic(folder: Path) -> list[Path]:
    """Write three recordings of syllables with pauses."""
    paths = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        time = np.arange((5 + 3 * seed) * 16000) / 16000
        swell = np.sin(2 * np.pi * (2 + seed) * time).clip(0) ** 2
        swell *= np.sin(time) > -0.3
        wav = (0.2 * swell + 1e-4) * rng.normal(size=len(time))
        paths.append(folder / f"{seed}.wav")
        soundfile.write(paths[-1], wav.clip(-1, 1), 16000)
    return paths


def ffmpeg(*arguments: object) -> bytes:
    """Run ffmpeg and return what it prints."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def main() -> None:
    refused, differences = 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = sys.argv[1:] or synthetic(folder)
        file = folder / "a.mp3"
        no_header = ["-write_xing", "0", "-id3v2_version", "0"]
        for recording in recordings:
            for rate in RATES:
                for quality in QUALITIES:
                    options = ["-ar", rate, *quality, *no_header]
                    ffmpeg("-i", recording, *options, file)
                    output = ["-ac", "1", "-ar", "16000", "-f", "s16le", "-"]
                    seconds = len(ffmpeg("-i", file, *output)) / 32000
                    try:
                        found = len(read_audio(file)) / 16000
                    except AudioError:
                        refused += 1
                        continue
                    differences.append((found - seconds) / seconds)
                    if abs(found - seconds) <= 0.1:
                        differences[-1] = 0.0
    files = len(recordings) * len(RATES) * len(QUALITIES)
    print(
        json.dumps(
            {
                "files": files,
                "refused": refused,
                "more_than_0.1_s_short": sum(d < 0 for d in differences),
                "more_than_0.1_s_long": sum(d > 0 for d in differences),
                "worst_loss_percent": round(100 * max(0, -min(differences)), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
