"""Measure cells beside the usual ones: speed and memory, what they learn, and how far back they remember."""

from lmkit.bench.study import Bench, bench

__all__ = ["Bench", "bench"]
