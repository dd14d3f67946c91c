"""Sweep over settings: train a recipe with values that optuna draws from ranges, and find the best."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.errors import CheckpointError, UsageError, listed, one_line, refused_memory
from lmkit.evaluation.tables import Table
from lmkit.extras import needs
from lmkit.files import writing
from lmkit.kinds import is_trainable_class
from lmkit.recipe import Recipe, as_table, build, read_recipe, recipe_of_run, to_tables, with_start
from lmkit.run_paths import CHECKPOINTS
from lmkit.studies.inputs import Paths, path_list
from lmkit.studies.sweep_ranges import Space, read_space
from lmkit.training.checkpoint import differences
from lmkit.training.loop import DivergedError
from lmkit.training.report import Reporter, usual_reporter
from lmkit.training.resume import FREE, resume_run
from lmkit.training.run import train_recipe
from lmkit.training.run_directory import run_lock
from lmkit.training.signals import Interrupted

JOURNAL = "study.journal"
"""The file of a sweep's folder in which optuna stores the study."""
SETTINGS = "lmkit"
"""The study's attribute with the ranges, the recipe and the seed."""
FIGURES = "figures"
PROBLEM = "problem"
"""Attributes of a trial: the figures of its training, or why it failed."""


@dataclass(frozen=True)
class SweepTrial:
    """A training of a sweep.

    run: its directory. settings: its values of the settings with ranges. valid_loss: in nats per token. seconds: of
    training. problem: why it failed; None if it did not.
    """

    trial: int
    run: str
    settings: Mapping[str, Any]
    valid_loss: float | None = None
    valid_bits_per_byte: float | None = None
    seconds: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Sweep:
    """The trials of a sweep, best first, those that failed last. by: the figure that is smallest for the best."""

    directory: str
    by: str
    trials: list[SweepTrial] = field(default_factory=list)

    @property
    def best(self) -> SweepTrial | None:
        """The best trial; None if all failed."""
        return next((trial for trial in self.trials if trial.problem is None), None)

    def to_json(self) -> dict[str, Any]:
        """Everything, with the best trial's number."""
        best = None if self.best is None else self.best.trial
        return {**asdict(self), "best": best}

    def table(self) -> Table:
        """A row for each trial."""
        names = list(self.trials[0].settings) if self.trials else []
        rows = [
            [
                str(trial.trial),
                *(_short(trial.settings[name]) for name in names),
                "failed" if trial.problem is not None else _figure(trial.valid_loss),
                _figure(trial.valid_bits_per_byte),
                "" if trial.seconds is None else f"{trial.seconds:.1f}",
            ]
            for trial in self.trials
        ]
        header = ["trial", *names, "validation loss", "bits per byte", "seconds"]
        return Table(header, rows, left=1 + len(names))


def sweep(
    recipe: str | Path,
    data: Paths = (),
    *,
    valid: Paths = (),
    trials: int = 20,
    out: str | Path = "runs/sweep",
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Sweep:
    """Train `recipe` with values from the ranges of its table [sweep], until the sweep in `out` has `trials` trials.

    Each trial is a run, `out`/trial-000 and so on. Values are drawn by optuna's TPESampler; with the same seed they are
    the same, also if the sweep was interrupted and started again. The best trial has the lowest validation loss, or,
    if tokenizers differ, the fewest bits per byte. Trials that diverge or exceed the memory count as failed.
    data, valid: as of `lmkit.train`; they replace the recipe's. reporter: receives the progress.
    Raises UsageError with all mistakes of the ranges, CheckpointError if `out` has a sweep with other settings,
    Interrupted after SIGINT or SIGTERM during a training, which is continued when the sweep is started again.
    """
    needs("optuna", "sweep")
    tables = with_start(read_recipe(recipe), None)
    texts = {
        name: found for name, paths in (("train", data), ("valid", valid)) if (found := path_list(paths))
    }
    space = read_space({**tables, "data": {**as_table(tables.get("data", {}), "data"), **texts}}, recipe)
    first = space.recipe(space.first())
    _check_text(first)
    folder = Path(out)
    _check_folder(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    reporter = reporter or usual_reporter()
    by = "valid_bits_per_byte" if space.changes_tokenizer else "valid_loss"
    with run_lock(folder), writing(folder):
        study = _study(folder, _settings(space, first, seed))
        while (trial := _next_trial(study, trials, seed)) is not None:
            values = {name: found.draw(trial, name) for name, found in space.ranges.items()}
            directory = _directory(folder, trial.number)
            told = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
            reporter.message(f"{directory}: {told}")
            try:
                figures = _trained(space, values, directory, by, reporter)
            except _FailedError as error:
                reporter.message(f"{directory} failed: {error}")
                trial.set_user_attr(PROBLEM, str(error))
                study.tell(trial, state=_states().FAIL)
            else:
                trial.set_user_attr(FIGURES, figures)
                study.tell(trial, figures[by])
        return _result(study, folder, by)


class _FailedError(Exception):
    """A trial failed; the sweep goes on."""


def _trained(
    space: Space, values: Mapping[str, Any], directory: Path, by: str, reporter: Reporter
) -> dict[str, float | None]:
    """Train a trial, from its last checkpoint if it was interrupted; return its figures."""
    try:
        recipe = space.recipe(values)
    except UsageError as error:  # values that are right alone, but not together
        raise _FailedError(one_line(error)) from error
    try:
        if any((directory / CHECKPOINTS).glob("step-*")):
            run = resume_run(directory, build(recipe_of_run(directory)), reporter=reporter)
        else:
            run = train_recipe(recipe, out=directory, overwrite=directory.exists(), reporter=reporter)
    except Interrupted as stop:
        message = f"stopped in {directory}; everything is saved; the same command continues the sweep"
        raise Interrupted(message, stop.exit_code - 128) from stop
    except DivergedError as error:
        raise _FailedError(str(error)) from error
    except Exception as error:
        if (refusal := refused_memory(error)) is None:
            raise
        raise _FailedError(refusal) from error
    finally:
        reporter.finish()
    figures = {name: run.summary.get(name) for name in ("valid_loss", "valid_bits_per_byte", "seconds")}
    if figures["valid_loss"] is None:
        raise UsageError(
            f"{directory} has no validation loss to compare; give --valid TEXT and another --out"
        )
    if figures[by] is None:
        raise _FailedError("its tokenizer cannot restore the text, so it has no bits per byte to compare")
    return figures


def _check_text(recipe: Recipe) -> None:
    """Raise UsageError if a recipe lacks a text that every trial needs."""
    if not recipe.train_paths:
        raise UsageError("the sweep has no text: give TEXT, or `train` in the recipe's table [data]")
    if not recipe.valid_paths and not is_trainable_class(recipe.model.load()):
        raise UsageError(
            f"the model {recipe.model.name} has no validation loss without a validation text: give --valid TEXT"
        )


def _check_folder(folder: Path) -> None:
    """Raise UsageError if a folder holds something else than a sweep."""
    if not folder.exists() or (folder / JOURNAL).is_file():
        return
    if not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UsageError(f"{folder} exists and is not a sweep; give another --out")


def _settings(space: Space, first: Recipe, seed: int) -> dict[str, Any]:
    """What decides the trials and their scores: a study with other settings is another study."""
    recipe = to_tables(first)
    for name in FREE:
        table, _, option = name.partition(".")
        if table == "train":
            recipe["train"].pop(option, None)
    ranges = {name: found.to_table() for name, found in space.ranges.items()}
    return {"sweep": ranges, "recipe": recipe, "seed": seed}


def _study(folder: Path, settings: dict[str, Any]) -> Any:
    """The study in a folder whose lock is held; CheckpointError if it is damaged or has other settings."""
    optuna: Any = needs("optuna", "sweep")
    journal: Any = needs("optuna.storages.journal", "sweep")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / JOURNAL
    if not any(folder.glob("trial-*")):
        path.unlink(missing_ok=True)  # nothing was trained, so the settings are still free
    lock = journal.JournalFileOpenLock(str(path))  # the other kind is a link, which may stay after a kill
    Path(f"{path}.lock").unlink(missing_ok=True)
    try:
        storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(path), lock_obj=lock))
        study = optuna.create_study(storage=storage, study_name="lmkit", load_if_exists=True)
        before = study.user_attrs.get(SETTINGS)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({one_line(error)}); restore it, or give another --out"
        ) from error
    if before is None:
        study.set_user_attr(SETTINGS, settings)
        return study
    changed = [str(difference) for difference in differences(before, settings)]
    if changed:
        raise CheckpointError(
            f"{folder} has a sweep with other settings: {listed(changed)}; continue it with the same settings, or "
            "give another --out"
        )
    return study


def _next_trial(study: Any, total: int, seed: int) -> Any:
    """The interrupted trial, or else a new one; None if there are `total` trials."""
    optuna: Any = needs("optuna", "sweep")
    found = study.get_trials(deepcopy=False)
    begun = next((trial for trial in found if trial.state == _states().RUNNING), None)
    if begun is None and len(found) >= total:
        return None
    number = len(found) if begun is None else begun.number
    # A seed for each trial, since the state of a sampler is not stored.
    drawn = np.random.SeedSequence([seed, number]).generate_state(1)[0]
    study.sampler = optuna.samplers.TPESampler(seed=int(drawn))
    return study.ask() if begun is None else optuna.trial.Trial(study, begun._trial_id)


def _result(study: Any, folder: Path, by: str) -> Sweep:
    """The finished trials of a study."""
    found = []
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        attributes = trial.user_attrs
        problem = None if trial.state == _states().COMPLETE else attributes.get(PROBLEM, "unknown")
        figures = attributes.get(FIGURES, {}) if problem is None else {}
        directory = str(_directory(folder, trial.number))
        found.append(SweepTrial(trial.number, directory, dict(trial.params), **figures, problem=problem))
    found.sort(key=lambda trial: float("inf") if trial.problem is not None else getattr(trial, by))
    return Sweep(str(folder), by, found)


def _states() -> Any:
    module: Any = needs("optuna.trial", "sweep")
    return module.TrialState


def _directory(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:03}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
