"""MedicalDictation: pre-train, fine-tune, evaluate.

python train.py hparams/pretrain.yaml --data_folder=/path/to/medicaldictation
python train.py hparams/finetune.yaml --data_folder=/path/to/medicaldictation
torchrun --nproc_per_node=8 train.py hparams/pretrain.yaml

What a run does is in ``nar_asr_lobes/training/run.py``.
"""

import sys

from medicaldictation_prepare import prepare

from nar_asr_lobes.training.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prepare))
