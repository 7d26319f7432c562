"""The scripts of benchmarks/accuracy, which lie outside the package."""

import sys
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).parents[2] / "benchmarks" / "accuracy"

with mock.patch.object(sys, "path", [str(FOLDER), *sys.path]):
    import joint_decode
    import noise
    import peer_command
    import peer_data
    import peer_training
    import report
    import speechbrain_model

__all__ = [
    "joint_decode",
    "noise",
    "peer_command",
    "peer_data",
    "peer_training",
    "report",
    "speechbrain_model",
]
