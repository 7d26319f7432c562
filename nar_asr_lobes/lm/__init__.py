"""Language models over a tokenizer's pieces: n-grams and a Transformer."""
