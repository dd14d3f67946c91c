#!/usr/bin/env bash
# surprisal 0.1.7 (kenlm 0.3.0, transformers 4.57.6, torch 2.13.0): the unit of a surprisal depends on the model.
#
# The package offers a class for n-gram models in ARPA files (KenLMModel) and others for neural models, with the same
# methods. Its README prints results of both side by side, and the axis of its plots says "natlog scale".
# Guess: a word of probability 0.1 has the same surprisal from both, ln 10 = 2.3026.
# So: KenLM's log10 values pass through, and the word has 1.0000 from the n-gram model. Beside those of a neural model,
# the surprisals of an n-gram model are 2.3026 times too small, in tables and in plots, without a warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  surprisal==0.1.7 kenlm==0.3.0 transformers==4.57.6 torch==2.13.0 numpy==2.3.5
cat >"$work/tenth.arpa" <<'ARPA'
\data\
ngram 1=4
ngram 2=1

\1-grams:
-1	<unk>
-99	<s>	0
-0.1549	</s>
-1	cat	0

\2-grams:
-1	<s> cat

\end\
ARPA
cd "$work"
HF_HUB_OFFLINE=1 MPLBACKEND=agg "$work/venv/bin/python" - <<'PYTHON'
import math

import torch
from surprisal import CausalHuggingFaceModel, KenLMModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

# A network whose weights are all 0 gives each of its words the same probability. The package leaves out the padding.
words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<s>", "<pad>", "cat", *"abcdefgh"])}, unk_token="<s>"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
special = dict(bos_token="<s>", eos_token="<s>", pad_token="<pad>")
PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained("network")
network = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=1))
for weight in network.parameters():
    torch.nn.init.zeros_(weight)
network.save_pretrained("network")

neural = CausalHuggingFaceModel("network").surprise("cat")[0].surprisals[-1]
ngram = KenLMModel("tenth.arpa").surprise("cat")[0].surprisals[0]
print(f"surprisal of a word of probability 0.1: {neural:.4f} (network), {ngram:.4f} (ARPA file)")
assert abs(neural - math.log(10)) < 1e-3, "the surprisal from a network is no longer in nats"
assert abs(ngram - 1) < 1e-3, "the surprisal from an ARPA file is no longer in powers of ten"
PYTHON
echo "as described"
