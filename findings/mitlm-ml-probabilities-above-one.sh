#!/usr/bin/env bash
# MITLM 0.4.2 (estimate-ngram in the Python package phonetisaurus 0.3.0, x86-64 Linux): probabilities above 1.
#
# -smoothing ML is among the methods that estimate-ngram -help lists, besides six kinds of Kneser-Ney.
# Guess: ML is maximum likelihood: a word's unigram probability is its count divided by the number of words.
# So: the count is divided by the number of different words (in higher orders, of different next words). Ten lines
# "a a b" give a probability of 20/3, written as log10 = 0.82, and a perplexity below 1. The error grows with the text.
# Kneser-Ney models are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check phonetisaurus==0.3.0
package=$(echo "$work"/venv/lib/python3*/site-packages/phonetisaurus)
for _ in 1 2 3 4 5 6 7 8 9 10; do echo "a a b"; done >"$work/text"
for smoothing in ML KN; do
  LD_LIBRARY_PATH="$package/lib/x86_64" "$package/bin/x86_64/estimate-ngram" -order 1 -smoothing $smoothing \
    -text "$work/text" -write-lm "$work/$smoothing.arpa" -eval-perp "$work/text" 2>&1 | grep "text.*[0-9]$" \
    >"$work/$smoothing.log"
done
"$work/venv/bin/python" - "$work" <<'PYTHON'
import pathlib
import sys

work = pathlib.Path(sys.argv[1])
sums = {}
for smoothing in ("ML", "KN"):
    fields = [line.split() for line in (work / f"{smoothing}.arpa").read_text().splitlines()]
    found = {row[1]: 10 ** float(row[0]) for row in fields if len(row) >= 2 and row[1] in ("a", "b", "</s>")}
    sums[smoothing] = sum(found.values())
    perplexity = float((work / f"{smoothing}.log").read_text().split()[-1])
    print(f"{smoothing}: {found}, sum {sums[smoothing]:.4f}, perplexity of the same text {perplexity}")
    if smoothing == "ML":
        assert abs(found["a"] - 20 / 3) < 1e-3, "the count is no longer divided by the number of different words"
        assert perplexity < 1, "the perplexity is no longer below 1"
assert abs(sums["ML"] - 40 / 3) < 1e-3 and abs(sums["KN"] - 1) < 1e-3, "the sums have changed"
PYTHON
echo "as described"
