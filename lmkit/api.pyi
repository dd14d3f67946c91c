# ruff: noqa
# fmt: off
"""Made by `python docs/make_stub.py`: do not edit. lmkit/api.py for editors, with the options of built-in parts.

Options of other plugins are taken too. Where one has another type than a built-in option of its name, give it in a
table: `model={"name": ..., ...}`.
"""

from typing import Any, Literal
from collections.abc import Mapping, Sequence
from pathlib import Path
from lmkit.model import Model
from lmkit.training.report import Reporter
from lmkit.training.run import train_recipe

__all__ = ['Model', 'load', 'resume', 'train', 'train_recipe']

def load(
    directory: str | Path,
    *,
    device: str = 'auto',
    allow_nonfinite: bool = False,
    int8: bool = False,
    split_unknown: str = 'auto',
    cache: int | Mapping[str, Any] | None = None,
    dynamic: bool | Mapping[str, Any] | None = None,
) -> Model: ...

def train(
    data: str | Path | Sequence[str | Path] = (),
    *,
    valid: str | Path | Sequence[str | Path] = (),
    model: str | type | Mapping[str, Any] | None = None,
    tokenizer: str | type | Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    init_from: str | Path | None = None,
    new_words: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    stop_after: int | None = None,
    reporter: Reporter | None = None,
    # training: parallel streams of the text
    batch_size: int = ...,
    # training: tokens per window of truncated back-propagation
    bptt: int = ...,
    # training: vary the length of windows around --bptt, and the rate with it
    vary_bptt: bool = ...,
    # training: maximum passes over the text (default 10 if there is no other limit)
    max_epochs: int | None = ...,
    # training: maximum updates of the weights
    max_steps: int | None = ...,
    # training: maximum seconds of training
    max_time: float | None = ...,
    # training: maximum seconds of processor time of training, without validations and checkpoints
    max_cpu_time: float | None = ...,
    # training: optimizer
    optimizer: Literal['adamw', 'sgd'] = ...,
    # training: peak learning rate (default 0.004 for adamw, 20 for sgd)
    learning_rate: float | None = ...,
    # training: factors on the rate of groups of parameters, e.g. embedding=0.3,stack.layers.0=0.1
    rates: str | Sequence[str] | None = ...,
    # training: groups of parameters not to train, e.g. embedding,stack.layers.0
    freeze: str | Sequence[str] | None = ...,
    # training: decay of weight matrices, multiplied by the rate (default 0.01 for adamw, 0 for sgd)
    weight_decay: float | None = ...,
    # training: momentum of sgd (one-cycle sets it, unless it is 0)
    momentum: float = ...,
    # training: adamw: decay of the mean of the gradients (one-cycle sets it)
    beta1: float = ...,
    # training: adamw: decay of the mean of their squares
    beta2: float = ...,
    # training: learning-rate schedule after the warm-up
    schedule: Literal['cosine', 'linear', 'constant', 'plateau', 'epochs', 'one-cycle'] = ...,
    # training: share of all steps during which the rate rises (default 0.25 for one-cycle, else 0.02, from zero)
    warmup: float | None = ...,
    # training: divide the rate by this when validation stops improving (plateau) or by epochs
    decay_factor: float = ...,
    # training: epochs: divide the rate at the start of every epoch after this many
    decay_after: int | None = ...,
    # training: epochs: divide the rate after each of these epochs, e.g. 25,35
    decay_at: int | Sequence[int] | None = ...,
    # training: start of the output layer's bias: the logarithm of the words' relative frequencies, or zeros
    output_bias: Literal['unigram', 'zero'] = ...,
    # training: largest norm of the gradient (default 1 for adamw, 0.25 for sgd; 0: none)
    clip_norm: float | None = ...,
    # training: largest absolute value of an element of the gradient, after --clip-norm
    clip_value: float | None = ...,
    # training: validate and save a moving average of the weights with this decay, e.g. 0.999
    average: float | None = ...,
    # training: validate and save the mean of the weights of all steps after the first validation that is worse than the best of all but this many before it, e.g. 5
    asgd_trigger: int | None = ...,
    # training: steps between validations (default: an epoch; fewer, but at least 20, for short validation texts)
    valid_every: int | None = ...,
    # training: stop after this many validations without improvement
    patience: int | None = ...,
    # training: steps between checkpoints (default: about every five minutes)
    save_every: int | None = ...,
    # training: number of checkpoints to keep
    keep: int = ...,
    # training: steps between lines in metrics.jsonl
    log_every: int = ...,
    # training: send the lines of metrics.jsonl to these loggers too, e.g. tensorboard,wandb (none: to no others)
    log_to: str | Sequence[str] | None = ...,
    # training: how much each token of an answer counts in the loss, for texts of the distance task
    answer_weight: float = ...,
    # training: of a training step: float32, TF32 (on GPUs that have it), or bfloat16 with weights and loss in float32; validation and scores are in float32
    precision: Literal['fp32', 'tf32', 'bf16'] = ...,
    # training: on a GPU, record what a training step launches, and launch it again for the next windows
    cuda_graph: bool = ...,
    # training: random seed
    seed: int = ...,
    # training: cpu, cuda, cuda:1 ... (auto: a GPU, if there is one, for networks of a million parameters)
    device: str = ...,
    # training: CPU threads (default: torch's choice)
    # sentencepiece: threads for training the tokenizer
    threads: int | None = ...,
    # data: encoding of text, JSONL and CSV files
    encoding: str = ...,
    # data: file format: auto uses the file's ending; tsv-quoted is TSV with the quoting of CSV
    input_format: Literal['auto', 'text', 'jsonl', 'json', 'csv', 'tsv', 'tsv-quoted', 'parquet'] = ...,
    # data: stop at a line that cannot be read, or skip it
    on_bad_line: Literal['error', 'skip'] = ...,
    # data: field or column with the text of a row; meta.text is the field text of meta
    text_field: str = ...,
    # data: refuse a compressed file that grows by more than this factor, past 64 MiB (0: no limit)
    max_expansion: float = ...,
    # data: subset (configuration) of a Hugging Face data set
    hub_subset: str | None = ...,
    # data: split of a Hugging Face data set
    hub_split: str = ...,
    # cached: number of latest tokens in the cache
    size: int = ...,
    # cached: how much more similar contexts count; 0: all equally (a unigram cache)
    theta: float = ...,
    # cached: weight of the cache's probability
    weight: float = ...,
    # elmo, recurrent: the recurrent cell; or one for each layer, from the bottom
    cell: str | type | Mapping[str, Any] | Sequence[str | type | Mapping[str, Any]] = ...,
    # elmo: units of a layer, in each direction
    # recurrent: units of a layer, or of each layer, from the bottom (default 256)
    # window: units per layer (default 256, or by --params)
    hidden_size: int | Sequence[int] | None = ...,
    # elmo: layers in each direction
    # recurrent: layers, each reading the one below (default: as many as are listed, else 1)
    # window: hidden layers
    num_layers: int | None = ...,
    # elmo, recurrent: project each layer's output to this width inside the recurrence (Sak et al., 2014)
    projection_size: int | None = ...,
    # elmo, recurrent: bound of the projected output (the original ELMo's: 3)
    projection_clip: float | None = ...,
    # elmo, recurrent: bound of the memory that a step hands to the next
    cell_clip: float | None = ...,
    # elmo: add each layer's input to its output, from the second layer on
    # recurrent: add each layer's input to its output, through a linear map if widths differ
    residual: bool = ...,
    # elmo, recurrent: normalise the input of each layer
    norm: Literal['none', 'layer', 'rms'] = ...,
    # elmo, recurrent: share of activations dropped on inputs, between layers and on outputs
    # window: dropout rate on embeddings and layers
    dropout: float = ...,
    # elmo, recurrent: share of the recurrent weights dropped, once a window (Merity et al., 2018)
    weight_drop: float = ...,
    # elmo, recurrent: dropout keeps its mask for a whole window (Gal and Ghahramani, 2016)
    locked: bool = ...,
    # elmo, recurrent: how the layers run: torch's kernel, compiled steps, a loop (docs/cells.md)
    tier: Literal['auto', 'torch', 'compiled', 'loop', 'plain'] = ...,
    # elmo: input of the encoder: the characters of tokens, or a vector for each token
    inputs: Literal['characters', 'tokens'] = ...,
    # elmo: characters: width of a character's embedding
    character_size: int = ...,
    # elmo: characters: convolutions, as width x number of features
    filters: str = ...,
    # elmo: characters: highway layers after the convolutions
    num_highways: int = ...,
    # elmo: characters: activation of the convolutions
    # window: activation of the hidden layers
    # rnn: activation of the sum of the two products
    activation: Literal['relu', 'tanh', 'sigmoid'] = ...,
    # elmo: characters: a linear layer from the filters to the width of a token
    project_filters: bool = ...,
    # elmo: tokens: the output layer shares the embedding's weights
    # recurrent, window: the output layer shares the embedding's weights
    tied: bool = ...,
    # elmo: predict only this many tokens, the most frequent, and all others as one (tokenizer word)
    output_words: int = ...,
    # elmo: train on this many sampled words if more than twice as many are predicted (0: always on all)
    # recurrent: sampled: words drawn for each window
    samples: int = ...,
    # elmo: an output layer: an encoder without one cannot be trained or scored
    softmax: bool = ...,
    # infini-gram: minimum number of occurrences of a context in the text
    occurrences: int = ...,
    # infini-gram: maximum number of words of a context
    longest: int = ...,
    # ngram: maximum number of words in an n-gram
    # window: N: predict each token from the N - 1 before it
    order: int = ...,
    # ngram: smoothing method
    smoothing: Literal['modified-kneser-ney', 'kneser-ney', 'witten-bell', 'add-k', 'stupid-backoff', 'mle'] = ...,
    # ngram: kneser-ney: also mix seen n-grams with shorter contexts
    interpolate: bool = ...,
    # ngram: add-k: number added to every count
    k: float = ...,
    # ngram: stupid-backoff: factor for each shorter context
    alpha: float = ...,
    # ngram: drop n-grams seen at most this often, one number per order: '0 0 1' drops trigrams and longer seen once
    prune: str = ...,
    # ngram: drop n-grams that change the model's perplexity by less than this share
    entropy_prune: float = ...,
    # ngram: store probabilities in 8 bits and links in their shortest form: four to seven bytes per n-gram
    quantize: bool = ...,
    # ngram: store the text, for counts of n-grams of any length: 8 bytes per word
    store_text: bool = ...,
    # ngram: build the model within this much memory, e.g. 4G, from parts on disk (docs/scale.md; default: only for texts that outgrow the memory)
    memory: str | None = ...,
    # ngram: folder for these parts, which need about 50 bytes per word at order 5 (default: in the run)
    scratch: str | None = ...,
    # ngram: what counts: lmkit on this machine, or spark on a cluster
    engine: Literal['lmkit', 'spark'] = ...,
    # ngram: URL of the master of --engine spark, e.g. spark://HOST:7077; local[4] uses this machine
    spark_master: str | None = ...,
    # recurrent, window: choose the hidden size that gives the model about this many parameters: 20M, 500k
    params: str | None = ...,
    # recurrent: width of the embedding (default: that of the output layer)
    # window: width of the embedding (default: the layers' width)
    embedding_size: int | None = ...,
    # recurrent: dropout on embeddings (default: --dropout)
    input_dropout: float | None = ...,
    # recurrent: dropout between layers (default: --dropout)
    layer_dropout: float | None = ...,
    # recurrent: dropout on outputs (default: --dropout)
    output_dropout: float | None = ...,
    # recurrent: share of the words whose whole embeddings are dropped
    word_dropout: float = ...,
    # recurrent: times the mean square of the dropped outputs, added to the loss (Merity et al., 2018: 2)
    activation_penalty: float = ...,
    # recurrent: times the mean square of the outputs' changes, added to the loss (Merity et al., 2018: 1)
    temporal_penalty: float = ...,
    # recurrent: draw all weights uniformly from plus or minus this (default: by the kind of layer)
    init_range: float | None = ...,
    # recurrent: softmax; sampled: trained on a sample of the words, scored on all; adaptive: faster past 100,000 words, for ids by frequency (tokenizer word); mixture: of several softmaxes (Yang et al., 2018)
    output: Literal['softmax', 'sampled', 'adaptive', 'mixture'] = ...,
    # recurrent: mixture: number of softmaxes
    experts: int = ...,
    # recurrent: adaptive: first word id of each cluster (default 1/16, 1/4 of the words)
    cutoffs: int | Sequence[int] | None = ...,
    # recurrent: where the state is reset, in training and in scoring
    # transformers: where a new text begins
    # window: where the window is reset, in training and in scoring
    reset: Literal['line', 'document', 'never'] = ...,
    # transformers: id of the token before every text
    begin_id: int = ...,
    # transformers: tokens that the model reads at most to predict the next; beyond, it reads at least half as many
    context: int = ...,
    # window: connect the embeddings to the output layer (untied only)
    direct: bool = ...,
    # layer-norm-lstm, lstm, min-lstm, mogrifier-lstm, qrnn, sru, xlstm-mlstm, xlstm-slstm: added to the initial bias of the forget gate; 1 helps to remember early on (Jozefowicz et al., 2015)
    forget_bias: float | None = ...,
    # lstm: clip the memory c to this bound before the output is computed; the original ELMo uses 3
    clip: float | None = ...,
    # mogrifier-lstm: number of times that input and state gate one another; 0 gives the LSTM
    rounds: int = ...,
    # mogrifier-lstm: rank of the gates' matrices (default: full)
    rank: int | None = ...,
    # xlstm-mlstm, xlstm-slstm: number of heads (default: 4, or 2 or 1 if 4 does not divide the units)
    num_heads: int | None = ...,
    # xlstm-mlstm, xlstm-slstm: activation of the forget gate
    forget_gate: Literal['sigmoid', 'exponential'] = ...,
    # char: maximum number of ids, including </s> and the unknown character
    # hf, sentencepiece: number of pieces; fewer if the text is too small
    # jieba, word: maximum number of ids, including </s> and the unknown word
    vocab_size: int | None = ...,
    # char: minimum count of a character
    # hf: minimum count of a pair of pieces to join
    # jieba, word: minimum count of a word
    min_count: int = ...,
    # hf: use this tokenizer.json, or the one in this folder, instead of learning byte-level BPE; vocab_size and min_count then have no effect (short form: hf:FILE)
    # sentencepiece: use this trained sentencepiece model instead of training one; the other options then have no effect (short form: sentencepiece:FILE)
    # word: read the vocabulary from this file, one word per line, instead of counting the text; vocab_size and min_count then have no effect (short form: word:FILE)
    file: str | None = ...,
    # hf: token of the file that ends every line (default: its special token </s>, <|endoftext|>, <|end_of_text|> or <eos>, else one more id)
    end_token: str | None = ...,
    # jieba: also find words that jieba's dictionary lacks, by its hidden Markov model
    hmm: bool = ...,
    # sentencepiece: sentencepiece algorithm
    model_type: Literal['unigram', 'bpe'] = ...,
    # sentencepiece: spell rare characters as bytes, so that none is unknown
    byte_fallback: bool = ...,
    # sentencepiece: normalization of the text; all but identity lose characters
    normalization: Literal['identity', 'nfkc', 'nfkc_cf', 'nmt_nfkc', 'nmt_nfkc_cf'] = ...,
    # sentencepiece: trim lines and merge spaces; this cannot be undone
    remove_extra_whitespaces: bool = ...,
    # sentencepiece: share of the text's characters that pieces cover
    character_coverage: float = ...,
    # sentencepiece: train on a sample of at most this many lines
    max_lines: int = ...,
    # word: a word of the text to read as the unknown word, such as <unk>
    unk_word: str | None = ...,
    **options: Any,
) -> Model: ...

def resume(
    directory: str | Path,
    *,
    stop_after: int | None = None,
    reporter: Reporter | None = None,
) -> Model: ...
