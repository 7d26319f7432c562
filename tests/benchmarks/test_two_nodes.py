"""Two nodes, one of which is lost; the script that shows it."""

import sys
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).parents[2] / "benchmarks" / "reliability"
with mock.patch.object(sys, "path", [str(FOLDER), *sys.path]):
    import two_nodes


def test_only_the_processes_of_a_lost_node_are_killed(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with two_nodes.network(local=True) as nodes:
        with two_nodes.killed_at_end(nodes):
            a, b = (node.start(command, tmp_path / node.name) for node in nodes)
            nodes[1].kill()
            assert b.wait(timeout=30) == -9 and a.poll() is None
        assert a.wait(timeout=30) == -9
