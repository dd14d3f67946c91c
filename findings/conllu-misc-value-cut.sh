#!/usr/bin/env bash
# conllu 6.0.0: a value in the column MISC is cut at its second equals sign.
#
# CoNLL-U leaves the values of MISC free. Glosses stand there, and the Leipzig glossing rules mark a clitic with "=".
# Guess: the part before the first "=" is the name, all that follows the value, and serialize() writes what was read.
# So: Gloss=1SG=PST is read as Gloss: 1SG, the rest is lost without a warning, and serialize() writes Gloss=1SG.
# Web addresses with a query are cut in the same way. Comments (# text = a = b) are kept whole.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check conllu==6.0.0
"$work/venv/bin/python" - <<'PYTHON'
import conllu

MISC = "Gloss=1SG=PST|Ref=https://example.org/?id=7|SpaceAfter=No"
TEXT = f"# text = a = b\n1\ta\ta\tX\t_\t_\t0\troot\t_\t{MISC}\n\n"
sentence = conllu.parse(TEXT)[0]
written = sentence.serialize().splitlines()
print(f"in the file:  {MISC}")
print(f"as read:      {sentence[0]['misc']}")
print(f"as written:   {written[1].split(chr(9))[9]}")
assert written[0] == "# text = a = b", "the comment is no longer kept whole"
assert sentence[0]["misc"] == {"Gloss": "1SG", "Ref": "https://example.org/?id", "SpaceAfter": "No"}, "no longer cut"
assert written[1].endswith("\tGloss=1SG|Ref=https://example.org/?id|SpaceAfter=No"), "no longer written cut"
PYTHON
echo "as described"
