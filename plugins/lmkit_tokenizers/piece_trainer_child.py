"""The process for training sentencepiece, to isolate crashes: lines on stdin, the model in a file.

Run as `python -m lmkit_tokenizers.piece_trainer_child SETTINGS MAX_LINES MODEL`; SETTINGS are the trainer's,
in JSON.
"""

import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

REFUSED, OUT_OF_MEMORY = 1, 2
"""Exit codes; the reason of a refusal is the last line of stderr."""


def main(settings: str, max_lines: str, path: str) -> int:
    """Train and write the model; the exit code."""
    import sentencepiece

    try:
        with Path(path).open("wb") as model:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(sample(sys.stdin.buffer, int(max_lines))),
                model_writer=model,
                **json.loads(settings),
            )
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return REFUSED
    return 0


def sample(lines: Iterable[bytes], size: int) -> list[bytes]:
    """A uniform sample of at most this many lines, the same for the same text (Vitter, 1985).

    The trainer can also sample, but differently each time.
    """
    chance = random.Random(0)
    kept: list[bytes] = []
    for i, line in enumerate(lines):
        place = i if i < size else chance.randrange(i + 1)
        if i < size:
            kept.append(line.rstrip(b"\n"))
        elif place < size:
            kept[place] = line.rstrip(b"\n")
    return kept


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
