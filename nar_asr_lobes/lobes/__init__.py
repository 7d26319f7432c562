"""The network: stems, encoders, decoder, masks, alignment, language model."""
