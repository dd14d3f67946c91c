"""Evaluate models: comparable scores, and studies of single models."""
