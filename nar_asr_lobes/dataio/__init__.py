"""From files on disk to padded batches of waveforms and token ids."""
