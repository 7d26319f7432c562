"""N-gram language models over a tokenizer's pieces: training and scoring."""
