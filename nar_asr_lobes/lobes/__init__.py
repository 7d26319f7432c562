"""The network: frontend, encoder, decoder, masks, quantiser and the model."""
