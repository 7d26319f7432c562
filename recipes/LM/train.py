"""LM: train a Transformer language model over a tokenizer's pieces.

python train.py hparams/train.yaml --tokenizer=/path/to/finetune/bundle \
    --texts='[/path/to/finetune/checked/train.jsonl, more.txt]'
torchrun --nproc_per_node=8 train.py hparams/train.yaml --tokenizer=… --texts=…

What a run does is in ``nar_asr_lobes/training/run.py``.
"""

import sys

from lm_prepare import prepare

from nar_asr_lobes.training.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prepare))
