"""Runs pyctcdecode for beam_search.py, in a virtual environment of its own.

It needs an older numpy than the rest. The first line of JSON builds the
decoder; each that follows names a file of posteriors and settings, and is
answered with the texts and the seconds of processor time they took.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from pyctcdecode import build_ctcdecoder


def main() -> None:
    """Answer the lines of the standard input."""
    setup = json.loads(sys.stdin.readline())
    decoder = build_ctcdecoder(setup["labels"], setup["arpa"], setup["words"])
    print(json.dumps({}), flush=True)
    files = {}
    for line in sys.stdin:
        question = json.loads(line)
        name, settings = question["file"], question["settings"]
        if name not in files:
            with np.load(name) as arrays:
                files[name] = [arrays[key] for key in arrays.files]
        decoder.reset_params(settings.pop("alpha"), settings.pop("beta"))
        start = time.process_time()
        texts = [
            decoder.decode(values, beam_width=setup["beam"], **settings)
            for values in files[name]
        ]
        seconds = time.process_time() - start
        print(json.dumps({"texts": texts, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
