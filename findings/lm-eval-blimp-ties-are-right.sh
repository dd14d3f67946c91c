#!/usr/bin/env bash
# lm-eval 0.4.13 (datasets 5.2.0): a model that cannot tell the sentences of a BLiMP pair apart gets 100 %.
#
# The tasks blimp_* count how often the acceptable sentence of a pair has the higher probability.
# Guess: equal probabilities do not count, or count half, so that a bag of words has at most 50 % where the sentences
# of a pair have the same words in another order.
# So: the first of equal choices wins, and the template of the BLiMP tasks always lists the acceptable sentence first.
# A unigram model solves every pair that differs in order only, and so does a model that scores all sentences alike.
# With the choices listed the other way round the same model gets 0 %.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check lm-eval==0.4.13 datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1
"$work/venv/bin/python" - <<'PYTHON'
import json
import pathlib

import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

PAIRS = [("who should she say left", "who should say she left"), ("the dog saw that cat", "that the dog saw cat")]
template = pathlib.Path(lm_eval.__file__).parent / "tasks/blimp/_template_yaml"
rows = [json.dumps({"sentence_good": good, "sentence_bad": bad}) + "\n" for good, bad in PAIRS]
pathlib.Path("pairs.jsonl").write_text("".join(rows))
task = f"include: {template}\ndataset_path: json\ndataset_name: null\n"
task += "dataset_kwargs: {data_files: {train: pairs.jsonl}}\n"
swapped = 'task: swapped\ndoc_to_target: 1\ndoc_to_choice: "{{[sentence_bad, sentence_good]}}"\n'
pathlib.Path("as_is.yaml").write_text(task + "task: as_is\n")
pathlib.Path("swapped.yaml").write_text(task + swapped)


class Unigrams(LM):
    """Gives every word the same log-probability, whatever precedes it."""

    def loglikelihood(self, requests):
        return [(-2.0 * len(request.args[1].split()), False) for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    def generate_until(self, requests):
        raise NotImplementedError


tasks = TaskManager(include_path=".", include_defaults=False)
results = lm_eval.simple_evaluate(model=Unigrams(), tasks=["as_is", "swapped"], task_manager=tasks, bootstrap_iters=0)
accuracy = {name: values["acc,none"] for name, values in results["results"].items()}
print(f"accuracy of a unigram model on pairs of the same words: {accuracy}")
assert accuracy == {"as_is": 1.0, "swapped": 0.0}, "ties no longer go to the first choice"
PYTHON
echo "as described"
