#!/usr/bin/env bash
# pocketsphinx 5.1.1: NGramModel.prob takes the words of an n-gram from last to first.
#
# The method is documented by no more than prob(words), and ngram_prob, the C function behind it, without the order.
# Guess: prob(["new", "york"]) is log P(york | new), as the ARPA file writes the bigram "new york".
# So: it is log P(new | york): the first word of the list is the predicted one, and the history follows, latest word
# first. A sentence scored in natural order has plausible numbers, since most reversed n-grams back off to unigrams.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pocketsphinx==5.1.1
cat >"$work/bigrams.arpa" <<'ARPA'
\data\
ngram 1=4
ngram 2=1

\1-grams:
-99	<s>	0
-0.5	</s>
-0.6	new	-0.3
-0.7	york	-0.2

\2-grams:
-0.1	new york

\end\
ARPA
"$work/venv/bin/python" - "$work/bigrams.arpa" <<'PYTHON'
import sys

from pocketsphinx import Config, LogMath, NGramModel, set_loglevel

set_loglevel("FATAL")
base = LogMath()
model = NGramModel(Config(hmm=None, lm=None, dict=None), base, sys.argv[1])
natural = base.log_to_log10(model.prob(["new", "york"]))
reverse = base.log_to_log10(model.prob(["york", "new"]))
print(f'bigram "new york" in the file: -0.1; prob(["new", "york"]) {natural:.3f}, prob(["york", "new"]) {reverse:.3f}')
# P(new | york) is not in the file: the back-off weight of york, -0.2, and the unigram new, -0.6.
assert abs(natural - (-0.2 - 0.6)) < 1e-3, "the words are no longer read from last to first"
assert abs(reverse - -0.1) < 1e-3, "the reversed words no longer give the bigram of the file"
PYTHON
echo "as described"
