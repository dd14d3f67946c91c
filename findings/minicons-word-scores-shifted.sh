#!/usr/bin/env bash
# minicons 0.3.39 (transformers 4.57.6, torch 2.13.0): word_score_tokenized gives each word the score of the next word.
#
# IncrementalLMScorer.token_score gives the first token of a sentence 0.0, since nothing precedes it and by default no
# start symbol is put there. word_score_tokenized sums token scores over words. Its docstring advises bos_token=True
# for GPT-2 and does not say what happens without it.
# Guess: with one token per word and the default options, both give the same numbers: the first word has 0.0.
# So: the first word has the score of the second, the second that of the third, and the last word has 0.0. There is no
# warning, and the total is right, so the shift is easy to miss in a table of surprisals. With bos_token=True every
# word has its own score.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  minicons==0.3.39 transformers==4.57.6 torch==2.13.0 numpy==2.3.5
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import torch
from minicons.scorer import IncrementalLMScorer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

SENTENCE = "the keys to the cabinet are here"
vocabulary = ["<s>", *dict.fromkeys(SENTENCE.split())]
words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="<s>"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<s>", pad_token="<s>")
torch.manual_seed(0)
shape = dict(vocab_size=len(vocabulary), n_positions=16, n_embd=8, n_layer=1, n_head=1, initializer_range=1.0)
model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).eval()
scorer = IncrementalLMScorer(model, "cpu", tokenizer=tokenizer)


def near(left, right):
    return len(left) == len(right) and all(abs(a - b) < 1e-4 for a, b in zip(left, right))


by_token = [score for _, score in scorer.token_score(SENTENCE)[0]]
by_word = [score for _, score in scorer.word_score_tokenized(SENTENCE, str.split)[0]]
for word, token_score, word_score in zip(SENTENCE.split(), by_token, by_word):
    print(f"{word:8} token_score {token_score:9.4f}   word_score_tokenized {word_score:9.4f}")
assert by_token[0] == 0.0 and by_word[-1] == 0.0, "the first token, or the last word, no longer has 0.0"
assert near(by_word[:-1], by_token[1:]), "the words no longer have the scores of the next words"
started = [score for _, score in scorer.token_score(SENTENCE, bos_token=True)[0]]
started_words = [score for _, score in scorer.word_score_tokenized(SENTENCE, str.split, bos_token=True)[0]]
assert near(started_words, started[1:]), "with a start symbol the words no longer have their own scores"
PYTHON
echo "as described"
