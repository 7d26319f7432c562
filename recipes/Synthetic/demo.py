"""The whole path on a corpus made here: ``make demo``.

Speaks the corpus, pre-trains, fine-tunes, trains and tunes the language model,
evaluates the decoding modes, writes ``results/demo/summary.json`` and
transcribes one audio file with the bundle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from synthetic_prepare import prepare

import nar_asr_lobes
from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.errors import UserError, escape_unprintable

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "results" / "demo"


def main() -> int:
    """Run every stage; give the exit status."""
    escape_unprintable()
    start = time.time()
    seconds: dict[str, float] = {}
    say("1/4 speaking the corpus (espeak-ng, 39 voices plus noise)")
    prepare(str(RESULTS / "data"))
    seconds["synthesis"] = round(time.time() - start, 1)
    say(f"    {seconds['synthesis']:.0f} s")
    for number, task in ((2, "pretrain"), (3, "finetune")):
        say(f"{number}/4 {task}: train.py hparams/{task}.yaml, two processes")
        started = time.time()
        status = run(task)
        if status:
            say(f"stopped; to start again, delete {RESULTS}")
            return status
        say(f"    {time.time() - started:.0f} s")
        times = read_json(RESULTS / task / "seconds.json")
        prepared = times.pop("prepare")
        seconds = {**seconds, f"prepare_{task}": prepared, **times}
    bundle = RESULTS / "finetune" / "bundle"
    results = read_json(RESULTS / "finetune" / "results.json")
    summary = {
        "test": results["test"],
        "seconds": seconds,
        "bundle": str(bundle),
    }
    (RESULTS / "summary.json").write_text(
        json.dumps(summary, indent=1), encoding="utf-8"
    )
    say("4/4 results on 200 sentences and 6 voices not in training")
    print((RESULTS / "finetune" / "results.txt").read_text(encoding="utf-8"))
    for name, taken in seconds.items():
        say(f"    {name:18s} {taken:6.1f} s")
    say(f"    in all             {time.time() - start:6.1f} s")
    show_transcript(bundle)
    return 0


def read_json(path: Path) -> dict:
    """Read a file of a finished stage."""
    return json.loads(path.read_text(encoding="utf-8"))


def run(task: str) -> int:
    """Train on two processes, which two cores are faster with than threads."""
    processes = min(2, os.cpu_count() or 1)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc_per_node={processes}",
        str(HERE / "train.py"),
        str(HERE / "hparams" / f"{task}.yaml"),
        *("--device=cpu", "--distributed_backend=gloo"),
        f"--data_folder={RESULTS / 'data'}",
        f"--output_folder={RESULTS / task}",
    ]
    if task == "finetune":
        command.append(f"--init_from={RESULTS / 'pretrain'}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    training = subprocess.Popen(command, env=environment)
    try:
        return training.wait()
    except KeyboardInterrupt:
        training.wait()  # it got the signal too, and saves its progress
        raise


def show_transcript(bundle: Path) -> None:
    """Transcribe the first test file and name it."""
    manifest = RESULTS / "finetune" / "manifests" / "test.jsonl"
    first = read_manifest(manifest)[0]
    transcript = nar_asr_lobes.load(bundle).transcribe(first.audio)
    say(f"spoken:     {first.text}")
    say(f"recognised: {transcript.text}")
    say(f"nar-asr transcribe {first.audio} --bundle {bundle}")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
