"""The training loop: limits, schedules, validation, and what it keeps."""

import json
import math
from dataclasses import replace

import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams
from lmkit.options import choose
from lmkit.training import loop
from lmkit.training.loop import DivergedError, Trainer
from lmkit.training.metrics import Metrics
from lmkit.training.optimiser import make_optimiser
from lmkit.training.options import TrainOptions
from lmkit.training.report import Silent
from lmkit.training.schedule import total_steps
from lmkit.training.validation import ValidationScore

VOCABULARY = Vocabulary(8, 0, 1, "test")


def trainer(tmp_path, validate=None, keep=lambda: None, output="softmax", **options) -> Trainer:
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": 8, "dropout": 0.0, "output": output}
    model = RecurrentLanguageModel(choose("model", table, "model").options, VOCABULARY)
    lines = [torch.tensor([2, 3, 4, 5, 6, 7, 0]).numpy()] * 12
    settings = TrainOptions(batch_size=2, bptt=7, **options)
    streams = Streams(TokenStore.from_lines(lines, VOCABULARY), 2, 7, "document", model.start_id)
    return Trainer(
        model,
        streams,
        settings,
        validation_tokens=7,
        validate=validate,
        keep_best=keep,
        metrics=Metrics(tmp_path / "metrics.jsonl"),
        reporter=Silent(),
    )


def test_it_learns_a_line_that_repeats(tmp_path):
    """With the default optimiser, a text that repeats is predicted almost surely after some epochs."""
    run = trainer(tmp_path, max_epochs=30, learning_rate=0.02, log_every=1)
    run.run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] > 1.8
    assert losses[-1] < 0.1


def test_a_sampled_loss_has_its_own_name(tmp_path):
    """What a sampled softmax estimates in training is not recorded as a loss that a perplexity follows from."""
    trainer(tmp_path, output="sampled", max_steps=1).run()
    record = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert record["sampled_loss"] > 0
    assert "loss" not in record


@pytest.mark.parametrize(
    ("options", "steps"),
    [({"max_steps": 5}, 5), ({"max_epochs": 2}, 12), ({"max_epochs": 2, "max_steps": 7}, 7), ({}, 60)],
)
def test_the_nearest_limit_ends_training(tmp_path, options, steps):
    """Steps or epochs, whichever comes first; ten epochs by default."""
    assert trainer(tmp_path, **options).run().step == steps


def test_time_ends_training(tmp_path):
    """`max_time` stops at the end of the step in which it has passed."""
    state = trainer(tmp_path, max_time=0.3).run()
    assert 0.3 <= state.seconds < 5


def test_processor_time_ends_training(tmp_path, monkeypatch):
    """`max_cpu_time` counts the processor time of steps, not of validations, and the schedule follows it."""
    clock = 0.0

    def spend(seconds, result):
        nonlocal clock
        clock += seconds
        return result

    run = trainer(
        tmp_path, lambda: spend(50.0, ValidationScore(1.0)), valid_every=1, max_cpu_time=8.0, schedule="linear",
        warmup=0.0, learning_rate=1e-3, log_every=1,
    )  # fmt: skip
    step_loss = run.model.step_loss
    monkeypatch.setattr("time.process_time", lambda: clock)
    monkeypatch.setattr(run.model, "step_loss", lambda *args: spend(2.0, step_loss(*args)))
    state = run.run()
    assert (state.step, state.cpu_seconds) == (4, 8.0)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [r for r in records if "loss" in r]
    assert [r["learning_rate"] for r in steps] == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert [r["cpu_seconds"] for r in records] == [2.0, 2.0, 4.0, 4.0, 6.0, 6.0, 8.0, 8.0]


def test_a_penalty_is_trained_on_but_not_reported(tmp_path, monkeypatch):
    """The gradient is that of loss and penalty; the loss in metrics.jsonl is that of the model."""
    plain, penalised = (trainer(tmp_path, max_steps=1, log_every=1) for _ in range(2))
    step_loss = penalised.model.step_loss

    def with_penalty(window, state):
        found = step_loss(window, state)
        penalised.model.penalty = 3.0 * penalised.model.output.bias.sum()
        return found

    monkeypatch.setattr(penalised.model, "step_loss", with_penalty)
    for run in (plain, penalised):
        run.options = replace(run.options, clip_norm=0.0)
        run.run()
    change = penalised.model.output.bias.grad - plain.model.output.bias.grad
    torch.testing.assert_close(change, torch.full_like(change, 3.0))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] == losses[1]


def test_stop_after_leaves_the_schedule_where_it_was(tmp_path):
    """Stopping early does not bring the end of the schedule nearer."""
    whole, part = trainer(tmp_path, max_steps=10), trainer(tmp_path, max_steps=10)
    assert part.run(stop_after=4).step == 4
    whole.run(stop_after=4)
    assert part.optimiser.param_groups[0]["lr"] == whole.optimiser.param_groups[0]["lr"] > 0


def test_the_best_weights_are_kept_and_patience_ends_it(tmp_path):
    """Weights are kept when validation is the best so far; several worse ones in a row end the training."""
    losses = iter([3.0, 2.0, 2.5, 2.4, 1.0])
    kept = []
    run = trainer(
        tmp_path,
        validate=lambda: ValidationScore(next(losses)),
        keep=lambda: kept.append(run.state.step),
        valid_every=2,
        patience=2,
    )
    state = run.run()
    assert kept == [2, 4]
    assert (state.best_loss, state.best_step, state.step) == (2.0, 4, 8)


def test_plateau_divides_the_rate(tmp_path):
    """On a plateau schedule each validation without improvement divides the learning rate."""
    losses = iter([3.0, 3.0, 3.0])
    run = trainer(
        tmp_path, validate=lambda: ValidationScore(next(losses)), valid_every=2, max_steps=6, schedule="plateau",
        learning_rate=0.1, warmup=0.0, decay_factor=4.0,
    )  # fmt: skip
    run.run()
    assert run.state.rate_divisor == 16
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(0.1 / 4)


def rates(tmp_path) -> list[float]:
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    return [record["learning_rate"] for record in records if "loss" in record]


def test_windows_that_vary_scale_the_rate(tmp_path):
    """The rate of a step is that of the schedule times length / bptt, and training ends where an epoch ends."""
    run = trainer(
        tmp_path,
        max_epochs=3,
        log_every=1,
        schedule="constant",
        warmup=0.0,
        learning_rate=0.01,
        vary_bptt=True,
    )
    run.streams.vary(0)
    run.total_steps = total_steps(run.options, run.streams.windows)
    state = run.run()
    places = [run.streams.windows.place(step) for step in range(state.step)]
    assert rates(tmp_path) == pytest.approx([0.01 * (p.last - p.first) / 7 for p in places])
    assert [p.first for p in places].count(0) == 3
    assert places[-1].last == run.streams.windows.length


def test_decay_by_epochs(tmp_path):
    """The rate changes at the first step of an epoch."""
    options = {
        "schedule": "epochs",
        "decay_after": 1,
        "decay_factor": 2.0,
        "warmup": 0.0,
        "learning_rate": 0.01,
    }
    trainer(tmp_path, max_epochs=3, log_every=1, **options).run()
    assert rates(tmp_path) == pytest.approx([0.01] * 6 + [0.005] * 6 + [0.0025] * 6)


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "momentum": 0.5}])
def test_one_cycle_sets_the_momentum(tmp_path, options):
    """At the end of one cycle the momentum, or beta1, is almost 0.95 and the rate almost 1 / 100,000 of the peak."""
    run = trainer(tmp_path, max_steps=50, schedule="one-cycle", learning_rate=0.01, **options)
    run.run(stop_after=13)
    group = run.optimiser.param_groups[0]
    assert (group["betas"][0] if "betas" in group else group["momentum"]) == pytest.approx(0.85, abs=1e-3)
    assert group["lr"] == pytest.approx(0.01, rel=1e-2)
    run.run()
    assert (group["betas"][0] if "betas" in group else group["momentum"]) == pytest.approx(0.95, abs=1e-3)
    assert group["lr"] < 1e-4


def test_frozen_parameters_keep_their_bits(tmp_path):
    """Weight decay included; the others change."""
    run = trainer(tmp_path, max_steps=3, freeze="embedding", weight_decay=0.5, average=0.5)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.run()
    same = {name for name, p in run.model.named_parameters() if torch.equal(p, before[name])}
    assert same == {"embedding.weight"}


def test_a_loss_that_is_no_number_stops_training(tmp_path):
    """The step is named and a remedy given, before the weights are spoilt any further."""
    run = trainer(tmp_path, max_steps=5)
    run.run(stop_after=2)
    with torch.no_grad():
        run.model.output.bias.fill_(math.nan)
    with pytest.raises(DivergedError, match="nan at step 3"):
        run.run()


def test_a_gradient_that_is_no_number_never_reaches_the_weights(tmp_path, monkeypatch):
    """A finite loss with an infinite gradient stops before the step, even the last one, and nothing is kept."""
    kept = []
    run = trainer(tmp_path, max_steps=1, keep=lambda: kept.append(1))
    before = [p.detach().clone() for p in run.model.parameters()]
    monkeypatch.setattr(loop, "clip_gradients", lambda *_: math.inf)
    with pytest.raises(DivergedError, match="norm of the gradient became inf at step 1"):
        run.run()
    assert not kept
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_a_validation_that_is_no_number_is_not_kept(tmp_path):
    """NaN weights that validation sees are an error, not a model."""
    kept = []
    run = trainer(
        tmp_path, validate=lambda: ValidationScore(math.nan), keep=lambda: kept.append(1), max_steps=2
    )
    with pytest.raises(DivergedError, match="validation loss became nan"):
        run.run()
    assert not kept


def test_metrics_report_the_norm_before_clipping(tmp_path):
    """metrics.jsonl holds loss, gradient norm, rate and speed, and one line a validation."""
    run = trainer(
        tmp_path,
        validate=lambda: ValidationScore(1.5, 2.25),
        max_steps=4,
        valid_every=4,
        log_every=2,
        clip_norm=1e-6,
    )
    run.run()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [1, 2, 4, 4]
    assert records[0]["grad_norm"] > 1e-3
    assert (records[-1]["valid_loss"], records[-1]["valid_bits_per_byte"]) == (1.5, 2.25)


def test_same_seed_same_weights(tmp_path):
    """Two trainings from one seed end in the same bits."""
    first, second = trainer(tmp_path, max_steps=6), trainer(tmp_path, max_steps=6)
    first.run()
    second.run()
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weight_decay_falls_on_matrices_alone():
    """Biases and other vectors are not decayed."""
    module = torch.nn.Linear(3, 4)
    groups = make_optimiser(module, TrainOptions(weight_decay=0.5)).param_groups
    assert [(g["weight_decay"], [p.dim() for p in g["params"]]) for g in groups] == [(0.5, [2]), (0.0, [1])]
    # A rate of 1 times a decay of 0.01 would shrink the weights by a hundredth a step.
    assert make_optimiser(module, TrainOptions(optimizer="sgd")).param_groups[0]["weight_decay"] == 0
