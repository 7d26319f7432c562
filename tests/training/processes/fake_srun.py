"""Stands for srun, with two tasks unless SLURM_NTASKS says otherwise.

    python fake_srun.py [--OPTION=VALUE ...] COMMAND ...

Each task gets the variables that srun sets; the first one that fails ends all,
as with --kill-on-bad-exit.
"""

import os
import subprocess
import sys
import time


def variables(task, tasks):
    """Give what srun sets for a task of one node."""
    given = {
        "SLURM_JOB_ID": os.environ.get("SLURM_JOB_ID", "1234567"),
        "SLURM_NTASKS": tasks,
        "SLURM_STEP_NUM_TASKS": tasks,
        "SLURM_PROCID": task,
        "SLURM_LOCALID": task,
        "SLURM_STEP_NODELIST": "localhost",
    }
    return {name: str(value) for name, value in given.items()}


def main(words):
    """Start the tasks; give the highest of their statuses."""
    while words[0].startswith("--"):
        words = words[1:]
    tasks = int(os.environ.get("SLURM_NTASKS", "2"))
    started = [
        subprocess.Popen(words, env={**os.environ, **variables(task, tasks)})
        for task in range(tasks)
    ]
    while any(task.poll() is None for task in started):
        if any(task.poll() for task in started):
            for task in started:
                task.terminate()
        time.sleep(0.1)
    return max(x if x >= 0 else 128 - x for x in (t.wait() for t in started))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
