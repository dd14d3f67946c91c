"""Classifiers of texts: a language model or an encoder, its states pooled, and a linear layer."""
