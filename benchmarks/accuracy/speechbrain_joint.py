"""SpeechBrain's joint CTC/attention model, trained for so many minutes.

python benchmarks/accuracy/speechbrain_joint.py --data_folder=DIR \\
    --set=yoruba --output_folder=DIR --minutes=40

The encoder is that of speechbrain_ctc.py, with a decoder of 4 layers and 0.3
of the loss from CTC, as in SpeechBrain's recipe. joint_decode.py decodes it.
The same command continues a stopped run.
"""

from __future__ import annotations

from peer_command import main

from nar_asr_lobes.errors import UserError

if __name__ == "__main__":
    try:
        main("speechbrain_joint", __doc__, decoder_layers=4)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
