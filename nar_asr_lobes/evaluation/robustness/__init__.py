"""Error rates of a test set under noise, reverberation and the like."""
