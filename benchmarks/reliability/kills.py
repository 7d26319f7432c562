"""Kill a training and an index again and again; both must end as undisturbed.

python benchmarks/reliability/kills.py --folder=DIR --kills=104 --terms=22
    --index_kills=10
python benchmarks/reliability/kills.py --folder=DIR --report|--saves=5

A training of two processes saves 575 MB after each step. Half of the SIGKILLs
come inside a save, in each of its files in turn; the others, and the SIGTERMs,
at random moments. After each the same command goes on; when it comes to its
end, its last checkpoint is compared bit for bit with that of a training that
nothing disturbed, and a new training begins. The same command as before goes
on with this script, too: ``kills.jsonl`` has a line for each life.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compare import PARTS, different_files, different_parts
from kill_jobs import RECIPE, Job, make_corpus, training

from nar_asr_lobes.storage import sha256
from nar_asr_lobes.training.checkpoint import CheckpointFolder

STEPS = 6
FILES = (*(f"{name}.pt" for name in PARTS), "checkpoint.json")
LARGE = FILES[:2]  # of which a random share is written at the kill
INDEXED = 1500  # utterances
GIVE_UP = 900.0  # s of a life that does not come to its moment


@dataclass(frozen=True)
class Plan:
    """One life: what is started, how and when it is ended."""

    kind: str  # kill, save (a kill inside one), term or index
    moment: float  # share of the file, or of the usual time to the first step
    file: str = ""
    saves: int = 0  # that are let pass before


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--index_kills", type=int, default=10)
    parser.add_argument("--report", action="store_true", help="the table alone")
    parser.add_argument("--saves", type=int, default=0, help="only time these")
    return parser.parse_args()


class Kills:
    """The folders, the lives so far, and the reference."""

    def __init__(self, folder: Path):
        self.folder, self.lives = folder, folder / "kills.jsonl"
        self.reference, self.run = folder / "reference", folder / "run"
        self.corpus, self.index = folder / "data", folder / "index"
        self.log = folder / "life.log"

    def read(self) -> list[dict[str, Any]]:
        """Give the lives so far."""
        if not self.lives.exists():
            return []
        lines = self.lives.read_text(encoding="utf-8").splitlines()
        return list(map(json.loads, lines))

    def note(self, **line: Any) -> None:
        """Add a line, and show it."""
        with open(self.lives, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def prepare(self) -> None:
        """Make the corpora, and what undisturbed runs come to."""
        if not (self.corpus / "table.tsv").exists():
            make_corpus(self.corpus, 24)
            make_corpus(self.folder / "indexed", INDEXED)
        self.end(self.start("train", self.reference))
        job = self.start("index", self.folder / "index_reference")
        self.end(job)
        self.note(kind="reference", seconds=job.seconds())

    def end(self, job: Job) -> None:
        """Wait for the end of a life that nothing disturbs."""
        if job.process.wait():
            sys.exit(f"a life ended by itself:\n{job.text()}")

    def start(self, kind: str, output: Path) -> Job:
        """Start one of the two commands, always the same."""
        if kind != "index":
            return Job(training(self.corpus, output, STEPS, 1), self.log)
        command = [sys.executable, "-m", "nar_asr_lobes.cli.main", "index"]
        command += [str(RECIPE / "hparams" / "pretrain.yaml"), "--shards"]
        command += [f"--data_folder={self.folder / 'indexed'}"]
        command += [f"--output_folder={output}", "--processes=2"]
        return Job(command, self.log)

    def live(self, plan: Plan) -> bool:
        """Start a command and end it as planned; False where it ended first."""
        kind = "index" if plan.kind == "index" else "train"
        output = self.index if kind == "index" else self.run
        began = time.time_ns()
        job = self.start(kind, output)
        moment = Moment(self, plan, began)
        reached = self.wait(job, plan, moment)
        line = {"kind": plan.kind, "seconds": round(job.seconds(), 1)}
        if not reached and not job.is_over():
            job.kill()
            sys.exit(f"{plan} did not come to its moment:\n{job.text()}")
        if not reached:
            self.finish(job, kind, output)
            return False
        if plan.kind == "term":
            line["state"] = self.terminate(job)
        else:
            job.kill(moment.ranks)
            line["state"] = self.state(output, began)
        self.note(**line)
        return True

    def wait(self, job: Job, plan: Plan, moment: Moment) -> bool:
        """Wait for the moment of a life; False where it ended before."""
        usual = self.usual_seconds("index" if plan.kind == "index" else "train")
        deadline = GIVE_UP if plan.kind == "save" else usual * plan.moment
        while not job.is_over():
            if plan.kind == "save" and moment.has_come(job):
                return True
            if job.seconds() > deadline:
                return plan.kind != "save"
            time.sleep(moment.pause)
        return False

    def usual_seconds(self, kind: str) -> float:
        """Give the time that an undisturbed life of a kind takes."""
        lines = self.read()
        if kind == "index":
            return next(x["seconds"] for x in lines if x["kind"] == "reference")
        # A life ends at about three quarters in a save; the machine's load
        # changes, so the last few count.
        share = {"save": 1.3, "train compared": 1.0}
        seen = [
            x["seconds"] * share[x["kind"]]
            for x in lines
            if x["kind"] in share and "seconds" in x
        ][-3:]
        return sum(seen) / len(seen) if seen else 60.0

    def terminate(self, job: Job) -> str:
        """Send SIGTERM to torchrun; tell whether a step was saved."""
        start = time.monotonic()
        job.process.send_signal(signal.SIGTERM)
        job.process.wait()
        seconds = time.monotonic() - start
        saved = "saved" if "SIGTERM, saved at step" in job.text() else "not yet"
        return f"{saved}, {seconds:.0f} s"

    def state(self, output: Path, began: int) -> str:
        """Tell which file of a checkpoint a kill has left as the last."""
        for temporary in output.glob("checkpoints/.step_*.tmp"):
            found = [x for x in FILES if is_new(temporary / x, began)]
            if found:
                return found[-1]
        saved = output.glob("checkpoints/step_*")
        return (
            "after a save"
            if any(is_new(x, began) for x in saved)
            else "no save"
        )

    def finish(self, job: Job, kind: str, output: Path) -> None:
        """Compare what came to its end with the reference; begin anew."""
        self.end(job)
        if kind == "index":
            differences = different_files(
                self.folder / "index_reference", output
            )
        else:
            one, two = (
                CheckpointFolder(x / "checkpoints").newest()
                for x in (self.reference, output)
            )
            differences = different_parts(one, two)
        self.note(
            kind=f"{kind} compared",
            differences=differences,
            seconds=round(job.seconds(), 1),
        )
        shutil.rmtree(output)


class Moment:
    """Waits for a share of a file of a save of this life."""

    def __init__(self, kills: Kills, plan: Plan, began: int):
        self.folder, self.plan = kills.run / "checkpoints", plan
        self.began, self.passed = began, set()
        self.pause, self.ranks = 0.02, []
        self.full = {
            path.name: path.stat().st_size
            for path in kills.reference.glob(f"checkpoints/*{STEPS}/*")
        }

    def has_come(self, job: Job) -> bool:
        """Look at the file, the closer the more often."""
        for folder in self.folder.glob(".step_*.tmp"):
            if not is_new(folder / FILES[0], self.began):
                continue
            self.passed.add(folder.name)
            if len(self.passed) <= self.plan.saves:
                continue
            self.ranks = self.ranks or job.ranks()
            small = self.plan.file not in LARGE
            complete = self._share(folder / LARGE[-1]) >= 1
            self.pause = 0.0 if small and complete else 0.0005
            path = folder / self.plan.file
            if small:
                return is_new(path, self.began)
            if self._share(path) < min(1.0, self.plan.moment):
                return False
            time.sleep(max(0.0, self.plan.moment - 1))  # while it is hashed
            return True
        return False

    def _share(self, path: Path) -> float:
        """Give the share of a file that is written."""
        if not is_new(path, self.began):
            return 0.0
        return path.stat().st_size / self.full[path.name]


def is_new(path: Path, began: int) -> bool:
    """Tell whether a file was made in this life."""
    with suppress(OSError):
        return path.stat().st_ctime_ns >= began
    return False


def plan_lives(options: argparse.Namespace) -> list[Plan]:
    """Draw all lives, always the same, in a random order."""
    rng, plans = random.Random(0), []
    for number in range(options.kills // 2):
        file = FILES[number % len(FILES)]
        moment = rng.uniform(0, 1.5)
        plans.append(Plan("save", moment, file, rng.randrange(2)))
        plans.append(Plan("kill", rng.uniform(0.02, 1)))
    plans += [Plan("term", rng.uniform(0.3, 1)) for _ in range(options.terms)]
    plans += [
        Plan("index", rng.uniform(0.3, 1)) for _ in range(options.index_kills)
    ]
    rng.shuffle(plans)
    return plans


def time_saves(kills: Kills, count: int) -> None:
    """Print the seconds of saves of the reference, and those of its hashes."""
    checkpoint = CheckpointFolder(kills.reference / "checkpoints").newest()
    parts = {name: checkpoint.load(name) for name in PARTS}
    folder = CheckpointFolder(kills.folder / "saves")
    for step in range(count):
        start, used = time.monotonic(), time.process_time()
        path = folder.save(step, parts, {})
        saved, used = time.monotonic() - start, time.process_time() - used
        start = time.monotonic()
        for name in FILES:
            sha256(path / name)
        hashed = time.monotonic() - start
        print(
            f"{saved:.1f} s, {used:.1f} s of processor; hashes {hashed:.1f} s"
        )
    shutil.rmtree(folder.folder)


def report(lives: list[dict[str, Any]]) -> None:
    """Print a table: lives by kind and state, and the comparisons."""
    counts = Counter(
        (x["kind"], x["state"].split(",")[0]) for x in lives if "state" in x
    )
    for (kind, state), count in sorted(counts.items()):
        print(f"| {kind} | {state} | {count} |")
    for kind in ("train compared", "index compared"):
        found = [x["differences"] for x in lives if x["kind"] == kind]
        print(f"| {kind} | equal | {found.count([])} of {len(found)} |")


def main() -> None:
    """Go on where the lives so far end; then let all come to their end."""
    options = parse()
    kills = Kills(options.folder)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.saves:
        time_saves(kills, options.saves)
        return
    if not options.report:
        if not any(x["kind"] == "reference" for x in kills.read()):
            kills.prepare()
        done = Counter(x["kind"] for x in kills.read() if "state" in x)
        for plan in plan_lives(options):
            if done[plan.kind]:
                done[plan.kind] -= 1
            else:
                while not kills.live(plan):  # it ended first
                    plan = replace(plan, moment=plan.moment / 2)
        for kind, output in (("train", kills.run), ("index", kills.index)):
            kills.finish(kills.start(kind, output), kind, output)
    report(kills.read())


if __name__ == "__main__":
    main()
