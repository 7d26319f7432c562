"""The trainer, its checkpoints, and the one run that all recipes share."""

import logging

# SpeechBrain warns at import that it cannot save figures; we save none.
logging.getLogger("speechbrain.utils.train_logger").addFilter(
    lambda record: "torchvision" not in record.getMessage()
)
