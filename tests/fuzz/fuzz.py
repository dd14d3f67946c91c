"""Mutate sound files and read them: each is read, or refused by an error of lmkit with the right exit code.

By hand: `python tests/fuzz/fuzz.py SEED CASES FOLDER [TARGET ...]`; a file that breaks this is left in FOLDER.
"""

import json
import logging
import random
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

from fuzz_states import STATES
from fuzz_targets import PARSERS, Target

TARGETS = PARSERS | STATES
MEMORY = 1 << 30
"""Bytes that a reader may take beyond what the process has when it begins."""
HANGS = 60
"""Seconds of the processor after which one case counts as a hang."""

NUMBERS = [
    b"0",
    b"-3",
    b"7",
    b"1.5",
    b"1" * 400,
    b"1000000000000",
    b"4294967296",
    b"9223372036854775807",
    b"1e999",
]
SPELT = [b"9" * 5000, b"NaN", b"null", b"true", b'"', b"{}", b"[]", b'"\\ud800"', b"\\u0000", b"../", b"/"]
DEEP = [b"[" * 3000, b'{"a":' * 3000]
BYTES = [b"\0", b"\n", b"\r\n", b"\xff" * 8, b"\xed\xa0\x80", b"\x80" * 10, b"\x7f\xff\xff\xff", b"\0" * 512]
TOKENS = [*NUMBERS, *SPELT, *DEEP, *BYTES, "\u2581\u202e\U0001f600".encode()]


def damaged(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """The data after one to four changes."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at, end = sorted((chance.randint(0, len(out)), chance.randint(0, len(out))))
        near = at + chance.choice((1, 2, 8, 64))
        match chance.randrange(9):
            case 0 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                del out[at:near]
            case 2:
                del out[at:end]
            case 3:
                out[at:at] = chance.randbytes(chance.choice((1, 4, 30)))
            case 4:
                out[at:at] = chance.choice(TOKENS)
            case 5:
                out[at:near] = chance.choice(TOKENS)
            case 6:
                out[at:at] = out[at:near] * chance.choice((1, 2, 100))
            case 7:
                other = chance.choice(others)
                cut = chance.randint(0, len(other))
                out[at:near] = other[cut : cut + chance.choice((1, 8, 64, len(other)))]
            case 8:
                _change_number(out, chance)
    return bytes(out)


def _change_number(out: bytearray, chance: random.Random) -> None:
    """Put another number in place of one that is spelled in digits."""
    places = [i for i, byte in enumerate(out) if 48 <= byte <= 57]
    if places:
        first = last = chance.choice(places)
        while last < len(out) and 48 <= out[last] <= 57:
            last += 1
        out[first:last] = chance.choice([*NUMBERS, *SPELT])


def mutate(name: str, seed: int, cases: int, folder: Path) -> dict[str, int]:
    """Damage and read; how many cases were read, and how many were refused with each exit code.

    Raises whatever is not an error of lmkit, and AssertionError for an exit code that is not promised, or for
    contents other than those that were saved where hashes promise them.
    """
    from lmkit.errors import LmkitError

    target: Target = TARGETS[name](folder)
    for path, data in target.sound.items():
        path.write_bytes(target.wraps.get(path, bytes)(data))
    wanted = target.read()
    _limit_memory()
    chance = random.Random(f"{name} {seed}")
    others = list(target.sound.values())
    found: Counter[str] = Counter()
    for _ in range(cases):
        path, data = chance.choice(list(target.sound.items()))
        path.write_bytes(target.wraps.get(path, bytes)(damaged(data, others, chance)))
        signal.setitimer(signal.ITIMER_PROF, HANGS)
        try:
            value = target.read()
        except LmkitError as error:
            if error.exit_code not in target.codes:
                raise AssertionError(f"exit code {error.exit_code}: {error}") from error
            found[str(error.exit_code)] += 1
        else:
            assert not target.same or value == wanted, "other contents than those that were saved"
            found["read"] += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        for each, kept in target.sound.items():
            if each == path or not each.exists():
                each.write_bytes(target.wraps.get(each, bytes)(kept))
    return dict(found)


def _limit_memory() -> None:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    _, first, number, where, *names = sys.argv
    logging.disable(logging.CRITICAL)
    for chosen in names or TARGETS:
        place = Path(where) / chosen
        place.mkdir(parents=True)
        print(json.dumps({"target": chosen, **mutate(chosen, int(first), int(number), place)}), flush=True)
