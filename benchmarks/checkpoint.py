"""Measure the time of saving a checkpoint, as a share of the default interval between two.

python benchmarks/checkpoint.py --data train.txt
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import train_step

SAVES = 7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="text to train on (default: random words)")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--bptt", type=int, default=35)
    parser.add_argument("--vocabulary", type=int, default=33278, help="of the random words")
    parser.add_argument("--steps", type=int, default=3)
    settings = parser.parse_args()

    from lmkit.training.checkpoint import SECONDS, Checkpoints
    from lmkit.training.loop import Trainer
    from lmkit.training.metrics import Metrics
    from lmkit.training.options import TrainOptions
    from lmkit.training.report import Silent
    from lmkit.training.snapshot import snapshot

    streams, model = train_step.lmkit_model(settings)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep=2, every=None)
        trainer = Trainer(
            model,
            streams,
            TrainOptions(max_steps=SAVES),
            validation_tokens=0,
            validate=None,
            keep_best=lambda: None,
            metrics=Metrics(Path(folder) / "metrics.jsonl"),
            reporter=Silent(),
        )
        seconds = []
        for step in range(1, SAVES + 1):
            trainer.run(stop_after=step)
            begun = time.perf_counter()
            checkpoints.save(snapshot(trainer))
            seconds.append(time.perf_counter() - begun)
        size = sum(p.stat().st_size for p in Path(folder).glob("checkpoints/*000000007/*"))
    typical = statistics.median(seconds)
    print(f"{model.parameter_count():,} parameters with AdamW: {size / 2**20:.0f} MB, saved in {typical:.2f} s "
          f"({min(seconds):.2f} to {max(seconds):.2f})")  # fmt: skip
    print(f"every {SECONDS:g} s: {typical / SECONDS:.2%} of the time")


if __name__ == "__main__":
    main()
