"""Vectors for tokens, words and sentences from any encoder: batches, layers, pooling, files and fine-tuning."""
