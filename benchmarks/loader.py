"""Reading FLAC utterances: ours, SpeechBrain, webdataset, bare decoding.

    pip install webdataset; strace from the system's packages
    python benchmarks/loader.py --data_folder=DIR [--utterances=384]
        [--shortest=10] [--longest=15] [--rounds=5] [--workers=0,1,2]

DIR has an utterances.tsv (see the recipe Speechocean762); its utterances are
joined to FLAC files of 10 to 15 s, of which tar shards with an index are made.

    bare         soundfile.read of each file, nothing kept: the yardstick
    ours         step_loader over the index, as pre-training reads
    augmented    ours with WaveAugment, as fine-tuning reads
    speechbrain  a file an utterance: read_audio, dynamic batches, PaddedBatch
    webdataset   the same shards, decoded by soundfile, padded

1. Utterances a second of processor time, one thread. In each round the loaders
   alternate after every batch, so that all see the same load of the machine.
   With workers each loader has the machine for a round; by the clock, too.
2. System calls an utterance: strace, in later passes.
3. By the clock, with 1 ms added to each open and stat by strace.

Figures are medians of the rounds, ratios those of medians. Ends with one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import torch
from loader_contenders import LOADERS, STEP, Corpus
from pretrain_audio import joined_utterances

from nar_asr_lobes.dataio.index import build
from nar_asr_lobes.dataio.index.parts import PartRules
from nar_asr_lobes.errors import UserError

OPEN_AND_STAT = "open,openat,openat2,creat,stat,lstat,fstat,newfstatat,statx"
METADATA = f"{OPEN_AND_STAT},access,faccessat,faccessat2,readlink,lseek"
READS = "read,pread64,readv,preadv"
TRACED = ("ours", "speechbrain", "webdataset")
_MARK = "/loader-benchmark/"  # a path that is asked for in a trace


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_folder", required=True)
    parser.add_argument("--utterances", type=int, default=384)
    parser.add_argument("--shortest", type=float, default=10.0)
    parser.add_argument("--longest", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", default="0,1,2")
    return parser.parse_args()


def make_corpus(found: argparse.Namespace, folder: Path) -> Corpus:
    """Write the FLAC files and their shards, in whole steps."""
    (folder / "flac").mkdir()
    rows = joined_utterances(
        found.data_folder,
        folder / "flac",
        found.utterances,
        found.shortest,
        found.longest,
        "flac",
    )
    rows = rows[: len(rows) // STEP * STEP]
    rules = PartRules(str(folder / "flac"), shards=True)
    build._MOST_ROWS = STEP  # several shards, for workers to share
    build.build_index(rows, folder / "index", rules)
    return Corpus(
        [row.audio for row in rows],
        [row.duration for row in rows],
        folder / "index",
    )


def alternate(corpus: Corpus, loaders: dict) -> dict[str, dict[str, float]]:
    """Let all go through the utterances, the one that is behind first."""
    passes = {name: loader(0) for name, loader in loaders.items()}
    seconds, done = Counter(), Counter(dict.fromkeys(passes, 0))
    while passes:
        name = min(passes, key=done.__getitem__)
        start = time.process_time()
        count, _ = next(passes[name], (0, 0))
        seconds[name] += time.process_time() - start
        done[name] += count
        if not count:
            del passes[name]
    for name, count in done.items():
        require_all(corpus, name, count)
    return {name: {"cpu": seconds[name]} for name in done}


def with_workers(
    corpus: Corpus, loaders: dict, workers: int
) -> dict[str, dict[str, float]]:
    """Let one after another go through the utterances."""
    found = {}
    for name, loader in loaders.items():
        cpu, clock = cpu_seconds(), time.perf_counter()
        require_all(corpus, name, sum(count for count, _ in loader(workers)))
        found[name] = {
            "cpu": cpu_seconds() - cpu,
            "clock": time.perf_counter() - clock,
        }
    return found


def cpu_seconds() -> float:
    """Processor time of this process and of workers that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def require_all(corpus: Corpus, name: str, count: int) -> None:
    """Refuse to compare loaders that read different data."""
    if count != len(corpus.files):
        raise RuntimeError(f"{name}: {count} of {len(corpus.files)} utterances")


def rates(corpus: Corpus, workers: int, rounds: int) -> dict[str, dict]:
    """Utterances a second of each loader; the first round fills caches."""
    names = [name for name in LOADERS if name != "bare" or not workers]
    loaders = {name: LOADERS[name](corpus) for name in names}
    found = [
        with_workers(corpus, loaders, workers)
        if workers
        else alternate(corpus, loaders)
        for _ in range(rounds + 1)
    ][1:]
    return {
        name: {
            key: len(corpus.files) / median(x[name][key] for x in found)
            for key in found[0][name]
        }
        for name in names
    }


def traced(
    corpus: Corpus, calls: str, rounds: int = 1, delay: str = ""
) -> tuple[dict, dict]:
    """Run the loaders under strace: calls of each, seconds of its passes."""
    command = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={calls}"]
    if delay:
        command += ["-e", f"inject={calls}:delay_exit={delay}"]
    with tempfile.TemporaryDirectory() as name:
        given, trace = Path(name) / "corpus", Path(name) / "trace"
        given.write_bytes(pickle.dumps(corpus))
        command += ["-o", str(trace), sys.executable, __file__]
        shown = subprocess.run(
            [*command, f"--passes={given}", str(rounds)],
            check=True,
            stdout=subprocess.PIPE,
        )
        return count_calls(trace.open(encoding="utf-8")), json.loads(
            shown.stdout
        )


def count_calls(trace: Iterable[str]) -> dict[str, Counter]:
    """Count the calls between the marks of each loader."""
    found: dict[str, Counter] = {}
    current = Counter()
    for line in trace:
        call = re.match(r"\d+ +(\w+)\(", line)
        if _MARK in line:
            name = line.split(_MARK)[1].split('"')[0]
            current = found.setdefault(name, Counter())
        elif call:
            current[call[1]] += 1
    del found["end"]
    return found


def run_passes(given: str, rounds: str) -> None:
    """Let the loaders take turns, with marks around each turn.

    The first turns are not marked: they import, open and fill caches.
    """
    corpus = pickle.loads(Path(given).read_bytes())
    loaders = {name: LOADERS[name](corpus) for name in TRACED}
    seconds: dict[str, list[float]] = {name: [] for name in TRACED}
    for number in range(int(rounds) + 1):
        for name, loader in loaders.items():
            if number:
                os.path.exists(_MARK + name)
            start = time.perf_counter()
            list(loader(0))
            if number:
                seconds[name].append(time.perf_counter() - start)
                os.path.exists(_MARK + "end")
    print(json.dumps(seconds))


def show(title: str, rows: dict[str, dict]) -> None:
    """Print a table."""
    print(title)
    for name, values in rows.items():
        shown = (f"{key} {value:.4g}" for key, value in values.items())
        print(f"  {name:12}", ", ".join(shown), flush=True)


def main() -> None:
    found = arguments()
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(found, Path(folder))
        count = len(corpus.files)
        size = sum(os.path.getsize(file) for file in corpus.files)
        hours = sum(corpus.seconds) / 3600
        print(f"{count} utterances, {hours:.2f} h, {size / 1e6:.1f} MB of FLAC")
        by_workers = {}
        for workers in map(int, found.workers.split(",")):
            by_workers[workers] = rates(corpus, workers, found.rounds)
            show(f"utterances a second, {workers} workers", by_workers[workers])
        calls, _ = traced(corpus, f"{METADATA},{READS}")
        per_utterance = {
            name: {call: n / count for call, n in counts.items()}
            for name, counts in calls.items()
        }
        show("system calls an utterance", per_utterance)
        _, slow = traced(corpus, OPEN_AND_STAT, found.rounds, "1ms")
    waited = {name: median(slow[name]) / count for name in TRACED}
    show(
        "seconds an utterance, 1 ms an open or stat",
        {name: {"clock": value} for name, value in waited.items()},
    )
    cpu = {name: x["cpu"] for name, x in by_workers.get(0, {}).items()}
    metadata = METADATA.split(",")
    result = {
        "of_bare": cpu["ours"] / cpu["bare"] if cpu else None,
        "augmented": cpu["ours"] / cpu["augmented"] if cpu else None,
        "metadata": sum(per_utterance["ours"].get(x, 0) for x in metadata),
        "vs_speechbrain_1ms": waited["speechbrain"] / waited["ours"],
    }
    print(json.dumps({key: x and round(x, 3) for key, x in result.items()}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        if sys.argv[1:] and sys.argv[1].startswith("--passes="):
            run_passes(sys.argv[1].removeprefix("--passes="), sys.argv[2])
        else:
            main()
    except UserError as error:
        sys.exit(f"error: {error}")
