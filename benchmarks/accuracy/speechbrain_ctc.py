"""SpeechBrain's Conformer-CTC, trained on little data for so many minutes.

python benchmarks/accuracy/speechbrain_ctc.py --data_folder=DIR \\
    --set=yoruba --output_folder=DIR --minutes=40

Writes curve.jsonl, dev and test posteriors, tokenizer.json and results.json;
the same command continues a stopped run.
"""

from __future__ import annotations

from peer_command import main

from nar_asr_lobes.errors import UserError

if __name__ == "__main__":
    try:
        main("speechbrain_ctc", __doc__, decoder_layers=0)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
