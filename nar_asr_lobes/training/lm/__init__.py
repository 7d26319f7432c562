"""Training of a neural language model; the language models of a fine-tuning."""
