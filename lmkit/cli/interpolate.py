"""`lmkit interpolate`: a run that mixes the probabilities of other runs."""

from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import data_option, device_option, items_argument, split_items
from lmkit.cli.option_flags import SpecCommand, collected
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError
from lmkit.option_owners import DATA
from lmkit.options import resolve


@click.command(cls=SpecCommand, grow=lambda _: [DATA])
@items_argument
@data_option
@device_option
@click.option(
    "-o", "--out", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the run."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing run in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Mix the causal models in the directories RUN, with the weights that fit TEXT best.

    The models must have the same vocabulary. TEXT is held-out text, on which none of them was trained.
    The result is a run like any other, and contains copies of its parts.
    """
    options = resolve(DataOptions, collected(ctx)["data"], "data")
    asked = split_items(items, texts, "interpolate")
    if len(asked.runs) < 2:
        raise UsageError("one run alone is no mixture; give two or more")

    import math

    import numpy as np

    from lmkit import api
    from lmkit import runs as run_files
    from lmkit.corpus.readers import Text
    from lmkit.evaluation.interpolation import em
    from lmkit.options import choose
    from lmkit.scoring.measured_lines import measured_lines

    run_files.check_free(out, overwrite=overwrite)
    text = Text(asked.texts, options)
    models = {label: api.load(run, device=device) for label, run in asked.runs.items()}
    parts = [model.run for model in models.values()]
    chosen = choose("model", "interpolated", "model")
    kind = chosen.load()
    kind.combine(parts, [1 / len(parts)] * len(parts))  # says at once what cannot be mixed
    columns = []
    for label, model in models.items():
        lines = console.progress(text, total=None, label=f"scoring {label}")
        found = [figures[:, 0] for _, _, figures in measured_lines(model.causal, model.tokenizer, lines)]
        columns.append(np.concatenate(found))
    log_probs = np.stack(columns)
    weights, mean, steps = np.zeros(0), 0.0, 0
    for weights, mean in em(log_probs):  # noqa: B007
        steps += 1
    weights = weights / weights.sum()
    run_files.make_run(
        out,
        kind.combine(parts, weights.tolist()),
        parts[0].tokenizer,
        model_choice=chosen,
        tokenizer_choice=parts[0].tokenizer_choice,
        data={"description": f"a mixture of {', '.join(models)}, weighed on {text.describe()}"},
        overwrite=overwrite,
    )
    perplexities = np.exp(-log_probs.mean(1))
    if as_json:
        facts = {
            "parts": {
                label: {"weight": weight, "perplexity": perplexity}
                for label, weight, perplexity in zip(
                    models, weights.tolist(), perplexities.tolist(), strict=True
                )
            },
            "perplexity": math.exp(-mean),
            "steps": steps,
            "tokens": log_probs.shape[1],
        }
        click.echo(strict_json.report(facts))
        return
    rows = [
        [label, f"{weight:.4f}", f"{perplexity:,.2f}"]
        for label, weight, perplexity in zip(models, weights, perplexities, strict=True)
    ]
    rows.append(["mixture", "", f"{math.exp(-mean):,.2f}"])
    click.echo(console.table(["part", "weight", "perplexity"], rows))
    console.say(f"{steps} steps of EM; the model is in {out}; next: lmkit eval {out} FILE")
