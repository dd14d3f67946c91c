# %% [markdown]
# # First models
#
# An n-gram and a GRU on a small English text: the documentation of the Python that runs this notebook, which lmkit
# reads without a network as `pydocs`. The trainings are short, so that the notebook takes about two minutes.
# %%
import tempfile
from pathlib import Path

import lmkit

runs = Path(tempfile.mkdtemp())
# %%
ngram = lmkit.train(
    "pydocs:train", model="ngram", order=4, tokenizer="word", vocab_size=8000, out=runs / "ngram"
)
gru = lmkit.train(
    "pydocs:train",
    model="gru",
    hidden_size=128,
    tokenizer="word",
    vocab_size=8000,
    max_steps=150,
    threads=1,
    out=runs / "gru",
)
# %% [markdown]
# A score says how well a model predicts a text. Bits per byte compare any two models.
# %%
ngram.score("If the argument is not given, the function returns None.")
# %% [markdown]
# Surprisal says it for each word: red words were unexpected. Point at a word to read its bits.
# %%
ngram.surprisal("If the argument is not given, the function returns an umbrella.")
# %% [markdown]
# Several models side by side: on a text, and in a blank.
# %%
lmkit.compare([runs / "ngram", runs / "gru"], "pydocs:test")
# %%
lmkit.fill([runs / "ngram", runs / "gru"], "the function returns ____ .", why=True)
# %% [markdown]
# How much context does each use? The n-gram of order 4 gains nothing from more than three tokens.
# %%
lmkit.context([runs / "ngram", runs / "gru"], "pydocs:test", longest=30, windows=100, gradients=False)
# %% [markdown]
# And a sample of what the GRU has learned in so few steps.
# %%
gru.generate("The function", max_tokens=30, seed=1, temperature=0.7)
