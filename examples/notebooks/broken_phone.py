# %% [markdown]
# # Who remembers the broken phone?
#
# 今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去____
#
# "The weather is nice today, I played ball, broke my phone by accident, so this afternoon I will go and ____."
# People fill in "have the phone repaired", since they remember the phone from many words back. This notebook trains
# two models on sentences of this kind, which lmkit makes itself, and asks them. It takes two to three minutes of a CPU.
# %%
import tempfile
from pathlib import Path

import lmkit

runs = Path(tempfile.mkdtemp())
# %% [markdown]
# An n-gram of order 11 sees the ten words before the blank. A GRU has a state that it can keep. `answer_weight` makes
# the last words of each sentence count more in its loss.
# %%
lmkit.train("distances:zh", model="ngram", order=11, out=runs / "ngram")
lmkit.train(
    "distances:zh",
    model="gru",
    params="100k",
    dropout=0.0,
    answer_weight=10,
    lr=0.03,
    batch_size=32,
    bptt=128,
    max_steps=600,
    threads=1,
    out=runs / "gru",
)
models = [runs / "ngram", runs / "gru"]
# %% [markdown]
# Which of three actions is the most probable, and which words does the answer depend on? Each word is left out in
# turn; the redder it is, the less probable the answer becomes without it.
# %%
sentence = "今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去____。"
lmkit.fill(models, sentence, ["修手机", "喝水", "吃饭"], why=True)
# %% [markdown]
# With more clauses between the cause and the blank, the n-gram goes blind and the GRU does not.
# %%
lmkit.distances(models, farthest=12, count=20)
# %% [markdown]
# The surprisal of each word under the GRU, whose tokens are the words of these sentences. What it did not expect is
# red.
# %%
gru = lmkit.load(runs / "gru")
gru.surprisal("今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去修手机。", by="token")
