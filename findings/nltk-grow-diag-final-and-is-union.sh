#!/usr/bin/env bash
# nltk 3.10.4: grow_diag_final_and returns the union of the two word alignments, whatever they are.
#
# The docstring cites Koehn et al. (2005) and sums up their method without its conditions; comments in the code state
# them. The method starts from the links that both directions have, lets them grow to neighbours that align a word
# without a link, and at the end adds only links between two words without one.
# Guess: forward 0-0 1-1 2-2 and backward 0-0 1-1 2-2 0-2 give 0-0 1-1 2-2, since no word is left without a link.
# So: 0-2 is added too. The tests for words without links never fail, and every link of either direction is kept. On
# noisy alignments that is many more links than the method gives, with the precision of the plain union.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check nltk==3.10.4
"$work/venv/bin/python" - <<'PYTHON'
import random

from nltk.translate.gdfa import grow_diag_final_and


def links(text):
    return {tuple(int(number) for number in link.split("-")) for link in text.split()}


def published(forward, backward):
    """The method of Koehn et al. (2005)."""
    kept, union = forward & backward, forward | backward

    def has(side, word):
        return any(link[side] == word for link in kept)

    grown = True
    while grown:
        grown = False
        for e, f in sorted(kept):
            for link in sorted(union - kept):
                near = abs(link[0] - e) <= 1 and abs(link[1] - f) <= 1
                if near and not (has(0, link[0]) and has(1, link[1])):
                    kept.add(link)
                    grown = True
    for direction in (forward, backward):
        for link in sorted(direction):
            if not has(0, link[0]) and not has(1, link[1]):
                kept.add(link)
    return kept


forward, backward = "0-0 1-1 2-2", "0-0 1-1 2-2 0-2"
got = set(grow_diag_final_and(3, 3, forward, backward))
print(f"nltk {sorted(got)}, published method {sorted(published(links(forward), links(backward)))}")
assert got == {(0, 0), (1, 1), (2, 2), (0, 2)}, "the link between two aligned words is no longer added"
chance = random.Random(1)
total = [0, 0]
for _ in range(200):
    pair = [" ".join(f"{e}-{chance.choice([e, chance.randrange(10)])}" for e in range(10)) for _ in range(2)]
    got, method = set(grow_diag_final_and(10, 10, *pair)), published(*map(links, pair))
    assert got == links(pair[0]) | links(pair[1]), "the result is no longer the union"
    total = [total[0] + len(got), total[1] + len(method)]
print(f"200 pairs of alignments: {total[0]} links from nltk, always the union; {total[1]} from the published method")
assert total[1] < total[0]
PYTHON
echo "as described"
