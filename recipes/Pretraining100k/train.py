"""Pretraining100k: pre-train on indexes of other recipes.

torchrun --nproc_per_node=8 train.py YAML --data='{index: {NAME: FOLDER}}'

What a run does is in ``nar_asr_lobes/training/run.py``.
"""

import sys

from pretraining100k_prepare import prepare

from nar_asr_lobes.training.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prepare))
