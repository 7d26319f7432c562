"""Two nodes on one machine: training, a lost node, the same command again.

python benchmarks/reliability/two_nodes.py --folder=DIR [--local]
    [--case=agent|node|link]
    [--KEY=VALUE of train.py ...]

Each node is a network namespace (as root), or with --local nothing but a
torchrun of its own. Both train a tiny model on noise over gloo, one process a
node. Then the same again, where node b is lost at a third of the steps: its
torchrun is killed, all its processes are, or its link is cut and then they are.
At last both start by the same command. Every case prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "CustomManifest"
CASES = ("agent", "node", "link")
NAMES = ("a", "b")
CLIPS, RATE = 12, 16000
MARK = f"TWO_NODES_{os.getpid()}"  # in the environment of all processes


@dataclass(frozen=True)
class Node:
    """One of the two: how a command is run there, and its address."""

    name: str
    prefix: tuple[str, ...]
    address: str
    interface: str

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen:
        """Start a command there."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [*self.prefix, *command],
                env={
                    **os.environ,
                    MARK: self.name,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": str(ROOT),
                    "PATH": "/usr/sbin:/sbin",  # no list of packages
                    "GLOO_SOCKET_IFNAME": self.interface,
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Kill all its processes, as a power failure does."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={self.name}\0".encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)


def ip(*words: str) -> None:
    """Call iproute2, which needs the rights of root."""
    subprocess.run(["ip", *words], check=True)


@contextmanager
def network(local: bool) -> Iterator[tuple[Node, Node]]:
    """Make two nodes; in network namespaces they are joined by a cable."""
    if local:
        yield tuple(Node(name, (), "127.0.0.1", "lo") for name in NAMES)
        return
    spaces = {name: f"{MARK}{name}".lower() for name in NAMES}
    nodes = []
    try:
        for name in NAMES:
            ip("netns", "add", spaces[name])
        ends = ["veth-a", "netns", spaces["a"], "type", "veth", "peer"]
        ip("link", "add", *ends, "name", "veth-b", "netns", spaces["b"])
        for number, name in enumerate(NAMES, start=1):
            inside, address = ("-n", spaces[name]), f"10.77.0.{number}"
            ip(
                *inside,
                "address",
                "add",
                f"{address}/24",
                "dev",
                f"veth-{name}",
            )
            for interface in ("lo", f"veth-{name}"):
                ip(*inside, "link", "set", interface, "up")
            prefix = ("ip", "netns", "exec", spaces[name])
            nodes.append(Node(name, prefix, address, f"veth-{name}"))
        yield tuple(nodes)
    finally:
        for space in spaces.values():
            subprocess.run(["ip", "netns", "delete", space])


@contextmanager
def killed_at_end(nodes: Sequence[Node]) -> Iterator[None]:
    """Leave no process of a node."""
    try:
        yield
    finally:
        for node in nodes:
            node.kill()


def make_corpus(folder: Path) -> Path:
    """Write noise as audio files; give the folder."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["audio\tspeaker\tsplit"]
    for number in range(CLIPS):
        wav = 0.1 * rng.standard_normal(RATE + 800 * number)
        soundfile.write(folder / f"{number}.wav", wav, RATE)
        split = "dev" if number == 0 else "train"
        rows.append(f"{number}.wav\ts{number}\t{split}")
    (folder / "corpus.tsv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@dataclass
class Training:
    """One run of both nodes in one output folder."""

    nodes: tuple[Node, Node]
    data: Path
    output: Path
    port: int
    overrides: Sequence[str]

    def command(self, node: Node) -> list[str]:
        """Give the command of a node; that of each start is the same."""
        return [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2"),
            *("--nproc_per_node=1", "--rdzv_id=two", "--rdzv_backend=c10d"),
            f"--rdzv_endpoint={self.nodes[0].address}:{self.port}",
            # torchrun finds out for itself on a machine with a name of its own
            f"--rdzv_conf=is_host={int(node is self.nodes[0])}",
            *(f"--local_addr={node.address}", str(RECIPE / "train.py")),
            str(RECIPE / "hparams" / "pretrain.yaml"),
            *(f"--data_folder={self.data}", f"--output_folder={self.output}"),
            "--model=!include:../../../hparams/model/tiny.yaml",
            *("--device=cpu", "--global_batch=4", *self.overrides),
            "--data={check_audio: False, cache: False, workers: 0}",
        ]

    def log(self, node: Node) -> Path:
        """Give the path of a node's log."""
        return self.output.with_name(f"{self.output.name}_{node.name}.log")

    def start(self) -> list[subprocess.Popen]:
        """Start both nodes."""
        return [n.start(self.command(n), self.log(n)) for n in self.nodes]

    def finish(self) -> None:
        """Train to the end."""
        statuses = [process.wait() for process in self.start()]
        if any(statuses):
            raise SystemExit(self.logs())

    def logs(self) -> str:
        """Give the logs of both nodes."""
        texts = [self.log(n).read_text(encoding="utf-8") for n in self.nodes]
        return "\n".join(texts)

    def step(self) -> int:
        """Give the last step that a log tells."""
        steps = re.findall(r"step (\d+) of", self.logs())
        return max(map(int, steps), default=0)

    def hashes(self) -> dict[str, str]:
        """Give the hashes of weights, optimiser, schedule and progress."""
        newest = max((self.output / "checkpoints").glob("step_*"))
        text = (newest / "checkpoint.json").read_text(encoding="utf-8")
        found = json.loads(text)["sha256"]
        del found["random.pt"]  # Python's own stream begins anywhere, unused
        return {"step": newest.name, **found}


def lose_node(training: Training, case: str, step: int, limit: float) -> dict:
    """Lose node b in a training; tell how and when node a ends."""
    b, (process, agent) = training.nodes[1], training.start()
    while training.step() < step:
        if process.poll() is not None:
            raise SystemExit(training.logs())
        time.sleep(0.02)
    begin = time.monotonic()
    if case == "link":
        ip("-n", b.prefix[-1], "link", "set", b.interface, "down")
        time.sleep(1)
    if case == "agent":
        agent.kill()
    else:
        b.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=limit)
    found = {
        "status": process.poll(),  # null: after the limit it still waited
        "seconds": round(time.monotonic() - begin, 1),
        "step": training.step(),
    }
    for node in training.nodes:
        node.kill()
    process.wait()
    agent.wait()
    if case == "link":
        ip("-n", b.prefix[-1], "link", "set", b.interface, "up")
    return found


def free_port() -> int:
    """Give a port that no process listens to."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def measure(
    folder: Path,
    cases: Sequence[str],
    local: bool,
    limit: float,
    steps: int = 60,
    overrides: Sequence[str] = (),
) -> Iterator[dict]:
    """Yield a line for each case: the loss of the node, and the restart."""
    data = make_corpus(folder / "data")
    given = [
        f"--steps={steps}",
        f"--logging={{log_interval: 1, checkpoint_interval: {steps // 6}, "
        f"valid_interval: {steps}}}",
        *overrides,
    ]
    with network(local) as nodes, killed_at_end(nodes):

        def training(name: str) -> Training:
            return Training(nodes, data, folder / name, free_port(), given)

        whole = training("whole")
        whole.finish()
        for case in cases:
            run = training(case)
            lost = lose_node(run, case, steps // 3, limit)
            begin = time.monotonic()
            run.finish()
            seconds = round(time.monotonic() - begin, 1)
            same = run.hashes() == whole.hashes()
            yield {"case": case, **lost, "again": seconds, "bit_equal": same}


def main() -> None:
    """Run the cases of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--limit", type=float, default=300, help="seconds")
    options, overrides = parser.parse_known_args()
    cases = options.case or [
        c for c in CASES if not (options.local and c == "link")
    ]
    for line in measure(
        options.folder.absolute(),
        cases,
        options.local,
        options.limit,
        overrides=overrides,
    ):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
