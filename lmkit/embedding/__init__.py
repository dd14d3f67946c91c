"""Vectors for tokens, words and sentences from any encoder: batches, layers, pooling, files and fine-tuning."""

BATCH_SIZE = 128
"""Sentences in one call of an encoder, unless the caller gives another number."""
