"""Shared parts of neural models, recurrent or not: base classes, output layers, weights, sizes."""
