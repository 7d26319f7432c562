"""Cost of an index of 40 million utterances: making, launch, memory.

python benchmarks/scale_index.py make --folder=DIR --rows=40000000
python benchmarks/scale_index.py launch|memory|steps --folder=DIR

``make`` indexes --built rows from metadata, and writes the rows of the large
index, which all lie in one real shard of short utterances; the others use it.
Every part prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from nar_asr_lobes.dataio.batching import StepSampler
from nar_asr_lobes.dataio.datasets import step_loader
from nar_asr_lobes.dataio.dealing import deal
from nar_asr_lobes.dataio.index.build import build_index
from nar_asr_lobes.dataio.index.dataset import IndexedDataset
from nar_asr_lobes.dataio.index.parts import PartRules
from nar_asr_lobes.dataio.index.rows import (
    INDEX_FILE,
    ROW,
    ROWS_FILE,
    Corpora,
    read_header,
)
from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.dataio.stream import UtteranceStream

STEPS, BATCH, RANKS = 100_000, 2048, 64
WEIGHTS = {"a": 0.7, "b": 0.3}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=40_000_000)
    parser.add_argument("--built", type=int, default=2_000_000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--ranks", type=int, default=2, help="real processes")
    parser.add_argument("--workers", type=int, default=4, help="of each rank")
    parser.add_argument("--max_batch_seconds", type=float, default=240.0)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def lengths(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw lengths as of audiobooks: most of 12 to 17 s, and short ones."""
    long = rng.normal(14.5, 1.6, count).clip(2, 24)
    short = rng.uniform(1.5, 15, count)
    return np.where(rng.random(count) < 0.65, long, short)


def make(options: argparse.Namespace) -> dict:
    """Index metadata; then a real shard, and a large index of its rows."""
    folder, rng = options.folder, np.random.default_rng(0)

    def metadata() -> Iterator[Utterance]:
        for first in range(0, options.built, 10_000):
            count = min(10_000, options.built - first)
            for i, seconds in enumerate(lengths(rng, count).tolist(), first):
                name = f"{i % 7000}/{i % 90}/{i:09d}"
                yield Utterance(name, f"/corpus/{name}.flac", round(seconds, 2))

    start, used = time.time(), time.process_time()
    rules = PartRules("/corpus", read=False)
    build_index(metadata(), folder / "metadata", rules)
    found = {
        "built": options.built,
        "seconds": time.time() - start,
        "rows_per_core_second": options.built / (time.process_time() - used),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    rows = []
    for i in range(400):
        path = folder / "audio" / f"{i}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = float(rng.uniform(0.8, 1.6))
        wav = rng.normal(0, 0.05, round(16000 * seconds)).astype(np.float32)
        soundfile.write(path, wav, 16000)
        rows.append(Utterance(f"u{i}", str(path), len(wav) / 16000))
    rules = PartRules(str(folder), read=False, shards=True)
    for name in WEIGHTS:
        build_index(rows, folder / name, rules)
        small = np.fromfile(folder / name / ROWS_FILE, ROW)
        count = options.rows // len(WEIGHTS)
        with open(folder / name / ROWS_FILE, "wb") as file:
            for first in range(0, count, 1_000_000):
                size = min(1_000_000, count - first)
                file.write(small[rng.integers(len(small), size=size)].tobytes())
        # A run validates on a split of that name.
        dev = folder / name / "manifests" / "dev.jsonl"
        write_manifest(dev, rows[:40], "/")
        header = read_header(folder / name / INDEX_FILE)
        replace(header, rows=count).write(folder / name)
    return found


def training_set(
    options: argparse.Namespace, rank: int
) -> tuple[IndexedDataset, StepSampler]:
    """Open the index as a run does."""
    corpora = Corpora({name: options.folder / name for name in WEIGHTS})
    for part in corpora.parts.values():
        part.require_files()
    stream = UtteranceStream(corpora.sizes, list(WEIGHTS.values()))
    longest = options.max_batch_seconds
    sampler = StepSampler(
        corpora, BATCH, STEPS * 2, longest, 1, rank, RANKS, stream=stream
    )
    return IndexedDataset(corpora), sampler


def first_batch(options: argparse.Namespace) -> dict:
    """Go from nothing to the first step of this process."""
    dataset, sampler = training_set(options, rank=5)
    sampler.start_step = options.start
    step = next(iter(step_loader(dataset, sampler, options.workers)))
    return {"rows": len(dataset), "utterances": sum(len(b.ids) for b in step)}


def launch(options: argparse.Namespace) -> dict:
    """Time a new process from its start to its first batch."""
    found = {}
    for start in (0, STEPS):
        for name in WEIGHTS:  # out of the page cache
            path = options.folder / name / ROWS_FILE
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        began = time.time()
        command = [sys.executable, __file__, "first_batch", "--folder"]
        command += [str(options.folder), "--start", str(start)]
        text = subprocess.run(command, capture_output=True, check=True).stdout
        found[f"step {start}"] = {
            "seconds": time.time() - began,
            **json.loads(text),
        }
    return found


def memory(options: argparse.Namespace) -> dict:
    """Read the steps of some ranks in processes; sum their shares of memory."""
    command = [sys.executable, __file__, "reader", "--folder"]
    command += [str(options.folder), "--steps", str(options.steps)]
    command += ["--workers", str(options.workers)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    ranks = [
        subprocess.Popen([*command, "--start", str(rank)], **pipes)
        for rank in range(options.ranks)
    ]
    for rank in ranks:
        rank.stdout.readline()  # it has read its steps
    for rank in ranks:
        rank.stdin.write("\n")
        rank.stdin.flush()
    found = [json.loads(rank.stdout.readline()) for rank in ranks]
    for rank in ranks:
        rank.communicate()
    # Memory of a rank with its workers; mapped files are there once a node.
    own = sum(x["Pss_Anon"] + x["Pss_Shmem"] for x in found) / len(found)
    files = sum(x["Pss_File"] for x in found)
    return {
        "ranks": options.ranks,
        "workers": options.workers,
        "steps": options.steps,
        "mb_of_a_rank_with_workers": own,
        "mb_of_mapped_files": files,
        "node_mb": 8 * own + files,
    }


def reader(options: argparse.Namespace) -> dict:
    """Read steps as rank ``start``; measure itself and its workers."""
    dataset, sampler = training_set(options, options.start)
    steps = iter(step_loader(dataset, sampler, options.workers))
    for _ in range(options.steps):
        next(steps)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(shares([os.getpid(), *(w.pid for w in steps._workers)])))
    sys.stdout.flush()
    sys.stdin.readline()
    steps._shutdown_workers()
    return {}


def shares(pids: list[int]) -> dict:
    """Add up the proportional memory of processes in MB, by kind."""
    found: dict[str, float] = {}
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
        for line in text.splitlines()[1:]:
            name, value = line.split(":")
            found[name] = found.get(name, 0) + int(value.split()[0]) / 1024
    return found


def steps(options: argparse.Namespace) -> dict:
    """Look at the contents of steps, over real lengths of audiobooks."""
    rng = np.random.default_rng(1)
    size = 1_000_000
    sizes = [size // 2, size // 2]
    seconds = lengths(rng, size)
    seconds[: sizes[0]] = (seconds[: sizes[0]] / 3).clip(1)  # a corpus of
    # short utterances, such as commands, beside one of audiobooks
    stream = UtteranceStream(sizes, list(WEIGHTS.values()))
    audio, counts, padding, spread = [], [], {}, {}
    longest = options.max_batch_seconds
    one = StepSampler(seconds, BATCH, STEPS, longest, 1, stream=stream)
    for step in range(options.steps):
        batches = one.plan(step).micro_batches
        found = [s.index for batch in batches for s in batch]
        assert len(found) == BATCH
        drawn = np.sort(seconds[found])[::-1]
        audio.append(drawn.sum())
        counts.append(sum(index < sizes[0] for index in found))
        for ranks in (1, 2, 8, 64):
            costs = np.array(
                [
                    sum(drawn[run][0] * len(drawn[run]) for run in dealt)
                    for dealt in deal(drawn, ranks, longest)
                ]
            )
            padding.setdefault(ranks, []).append(costs.sum() / drawn.sum() - 1)
            spread.setdefault(ranks, []).append(costs.max() / costs.mean() - 1)
    equal = all(
        worlds_are_equal(seconds, stream, step, longest)
        for step in range(0, options.steps, max(1, options.steps // 20))
    )
    share = WEIGHTS["a"] / sum(WEIGHTS.values())
    bound = np.sqrt(BATCH * share * (1 - share))
    return {
        "steps": options.steps,
        "audio_cv_percent": 100 * np.std(audio) / np.mean(audio),
        "corpus_share": float(np.mean(counts)) / BATCH,
        "corpus_deviation_in_sigma": float(np.std(counts) / bound),
        "corpus_most_sigma": float(
            np.abs(np.array(counts) - BATCH * share).max() / bound
        ),
        "padding_percent": {r: 100 * np.mean(p) for r, p in padding.items()},
        "spread_percent": {r: 100 * np.mean(s) for r, s in spread.items()},
        "spread_most_percent": {r: 100 * max(s) for r, s in spread.items()},
        "same_utterances_in_all_worlds": bool(equal),
    }


def worlds_are_equal(
    seconds: np.ndarray, stream: UtteranceStream, step: int, longest: float
) -> bool:
    """Compare the utterances of a step between numbers of ranks."""
    found = set()
    for ranks in (1, 2, 8, 64):
        samples: list = []
        for rank in range(ranks):
            sampler = StepSampler(
                seconds, BATCH, STEPS, longest, 1, rank, ranks, stream=stream
            )
            batches = sampler.plan(step).micro_batches
            samples += [(s.index, s.seed) for batch in batches for s in batch]
        found.add(tuple(sorted(samples)))
    return len(found) == 1 and len(next(iter(found))) == BATCH


PARTS = {
    "make": make,
    "launch": launch,
    "first_batch": first_batch,
    "memory": memory,
    "reader": reader,
    "steps": steps,
}

if __name__ == "__main__":
    chosen = parse()
    print(json.dumps(PARTS[chosen.part](chosen)))
