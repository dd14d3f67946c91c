"""How much memory and disk a model may use and needs."""

import os
import re
from pathlib import Path

from lmkit.errors import UsageError
from lmkit.specs import MOST_IDS
from lmkit_ngram.options import NgramOptions

SHARE = 0.8
"""Of the available memory that may be used if the options give no limit."""
NGRAMS_A_TOKEN = 0.7
"""Different n-grams of each order a token of a long text, about, for estimates."""
FIXED = 96 << 20
"""Bytes for blocks of text and segments of a model, besides a part."""
A_WORD = 64
"""Bytes for each word of the vocabulary: counts, probabilities and parts."""
LEAST = 1 << 14
"""Windows of the smallest part worth a file."""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def size_of(text: str) -> int:
    """The bytes that a size such as "4G" or "500 MB" means; UsageError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*", text.upper())
    if found is None:
        raise UsageError(f"--memory '{text}' is not a size: give, for example, 4G or 500M")
    return int(float(found[1]) * UNITS[found[2]])


def available_memory() -> int | None:
    """The bytes of memory that programs can still get on this machine, or in this container; None if unknown."""
    try:
        facts = Path("/proc/meminfo").read_text()
        free = int(re.findall(r"MemAvailable:\s*(\d+) kB", facts)[0]) * 1024
    except (OSError, IndexError):
        return None
    try:
        limit, used = (
            Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current")
        )
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or "max"
        return free


def default_limit() -> int:
    """The bytes that this process may use if no option says so."""
    free = available_memory()
    return used_memory() + (1 << 30 if free is None else int(SHARE * free))


def used_memory() -> int:
    """The bytes of memory of this process now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 400 << 20  # with torch and numba, about


def needed_in_memory(num_tokens: int, options: NgramOptions, *, mapped: bool) -> int:
    """The bytes that `estimate_model` needs, about. mapped: the arrays of the model are in files."""
    ngrams = NGRAMS_A_TOKEN * (options.order - 1)
    a_token = 16 + options.order / 4 + (0 if mapped else 20 * ngrams)
    a_token += 13 * ngrams * (options.prune.strip("0, ") != "") + 16 * ngrams * (options.entropy_prune > 0)
    return int(a_token * num_tokens)


def windows_within(memory: int, options: NgramOptions, vocab_size: int) -> int:
    """The number of windows of a part that can be processed in this much memory of the process.

    Raises UsageError if the memory is too small for any.
    """
    windows = (memory - needed_for(0, options.order, vocab_size)) // _a_window(options.order)
    if windows < LEAST:
        least = needed_for(4 * LEAST, options.order, vocab_size) / 1e6
        raise UsageError(
            f"--memory {memory / 1e6:,.0f}M is too little: this vocabulary and lmkit itself take most of it; give at "
            f"least --memory {least:.0f}M"
        )
    # Places in a part, of which there may be two in memory, are int32.
    return min(windows, MOST_IDS // (2 * options.order))


def needed_for(windows: int, order: int, vocab_size: int) -> int:
    """The memory of the process that a part of this many different windows needs, about."""
    return used_memory() + FIXED + A_WORD * vocab_size + windows * _a_window(order)


def _a_window(order: int) -> int:
    return 4 * order + 42 + 44 * (order - 1)


def needed_on_disk(num_tokens: int, order: int, *, entropy_prune: bool = False) -> int:
    """The bytes of scratch files, about: windows, then n-grams with their contexts, then what entropy pruning needs."""
    return (14 if entropy_prune else 10) * order * num_tokens
