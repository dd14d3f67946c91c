"""The bidirectional encoder: two stacks of recurrent cells over shared token vectors, trained as language models.

Peters et al. (2018), "Deep contextualized word representations", arXiv:1802.05365, with any registered cell.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lmkit import states
from lmkit.contracts import BACKWARD, FORWARD, Encoding, LanguageModel, Tokenizer, Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams, Window
from lmkit.corpus.word_lists import refuse_one_string
from lmkit.errors import ModelError, UsageError
from lmkit.host_copies import derive
from lmkit.neural.stream_slice import whole_window
from lmkit.recurrence import BidirectionalEncoder, Recurrent, TrainableModel
from lmkit.recurrence.dropout import drop
from lmkit.states import State
from lmkit_elmo.directions import DirectionLM
from lmkit_elmo.inputs import CharacterInputs, TokenInputs, parse_filters
from lmkit_elmo.options import BiLMOptions
from lmkit_elmo.output import ShortlistOutputLayer
from lmkit_elmo.sentences import Reader, Sentence, bidirectional


class BiLM(TrainableModel, BidirectionalEncoder):
    """Layer 0 of a token is its vector without context, twice; layer l is [forward_l; backward_l].

    Both directions share the token vectors and the output layer; each has a separate stack. A line is a sentence
    between `<s>` and `</s>`, and no state is carried to the next, in training, in scores and in vectors.
    """

    def __init__(self, options: BiLMOptions, vocabulary: Vocabulary) -> None:
        super().__init__(options, vocabulary)
        self.options: BiLMOptions = options
        width = options.projection_size or options.hidden_size
        if options.inputs == "characters":
            _check_filters(options, width)
            self.inputs: CharacterInputs | TokenInputs = CharacterInputs(options, vocabulary, width)
        else:
            self.inputs = TokenInputs(vocabulary, width)
        self.forward_stack = _stack(options, width)
        self.backward_stack = _stack(options, width)
        self.output = self._output_layer(width) if options.softmax else None
        self.samples_loss = self.output is not None and self.output.is_sampled
        self._carried: list[tuple[State, State]] = []
        """The states of each row of `embed(stateful=True)`."""

    def _output_layer(self, width: int) -> ShortlistOutputLayer:
        options, size, unk_id = self.options, self.vocabulary.size, self.vocabulary.unk_id
        words = min(options.output_words, size)
        if words < size and (unk_id is None or unk_id >= words):
            raise UsageError(
                f"--output-words {words} omits tokens, but this vocabulary of {size} has no unknown token for "
                f"them: give --output-words {size}"
            )
        if isinstance(self.inputs, TokenInputs) and options.tied and words == size:
            weight = cast(nn.Parameter, self.inputs.embedding.weight)
        else:
            weight = nn.Parameter(torch.empty(words, width).uniform_(-0.1, 0.1))
        return ShortlistOutputLayer(weight, size, unk_id, options.samples)

    @property
    def num_layers(self) -> int:
        return self.options.num_layers + 1

    @property
    def directions(self) -> dict[str, LanguageModel]:
        """p(token | tokens before) and p(token | tokens after); ModelError for an encoder without an output layer."""
        return {FORWARD: DirectionLM(self, backward=False), BACKWARD: DirectionLM(self, backward=True)}

    def scoring_output(self) -> ShortlistOutputLayer:
        """The output layer; ModelError if there is none."""
        if self.output is None:
            raise ModelError(
                "this encoder has no output layer (like imported ones), so it gives no scores; use lmkit embed"
            )
        return self.output

    def use_tokenizer(self, tokenizer: Tokenizer) -> None:
        super().use_tokenizer(tokenizer)
        self.inputs.use_tokenizer(tokenizer)

    def stack(self, backward: bool) -> Recurrent:
        """The layers of a direction."""
        return self.backward_stack if backward else self.forward_stack

    # Training and scores.

    def streams(self, store: TokenStore, batch_size: int, bptt: int) -> Streams:
        if self.output is None:
            raise UsageError(
                "--no-softmax leaves no words to predict, so the encoder cannot be trained; leave it out"
            )
        return Streams(store, batch_size, bptt, "line", self.start_id, both_ways=True)

    def start_at(self, counts: Tensor) -> None:
        self.scoring_output().start_at(counts)

    def divide_unknown(self, old_size: int, unk_id: int, log_shares: Tensor) -> None:
        self.scoring_output().divide_unknown(old_size, unk_id, log_shares)

    def sample_from(self, counts: Tensor) -> None:
        self.scoring_output().sample_from(counts)

    def blank_state(self, batch_size: int) -> State:
        return self.forward_stack.initial_state(batch_size), self.backward_stack.initial_state(batch_size)

    def step_loss(self, window: Window, state: State) -> tuple[Tensor, State]:
        assert window.backward is not None
        ways = (window, window.backward)
        # Together, since most words of a window are in both.
        ids = derive(
            lambda *inputs: torch.stack([self._with_boundaries(i, back) for back, i in enumerate(inputs)]),
            *(way.inputs for way in ways),
        )
        vectors = self._drop(self.inputs(ids))
        outputs, after = [], []
        for back, (before, way) in enumerate(zip(cast(tuple[State, State], state), ways, strict=True)):
            found, new_state = self.stack(bool(back))(vectors[back], before, reset=way.reset)
            outputs.append(found)
            after.append(new_state)
        features = self._drop(torch.stack(outputs)).flatten(0, 2)
        targets = _both_ways(window)
        weights = [way.weights for way in ways if way.weights is not None]
        flat = torch.stack(weights).flatten() if weights else None
        tokens = _both_ways(whole_window(window))
        return self.scoring_output().loss(features, targets, flat, tokens), tuple(after)

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout of (directions, batch, time, width) in training."""
        return drop(x, self.options.dropout, rows_dim=1, locked_dim=2 if self.options.locked else None)

    def features(
        self, ids: Tensor, state: State, *, backward: bool, reset: Tensor | None
    ) -> tuple[Tensor, State]:
        """(batch, time, width) outputs of a direction's last layer, and its state; ids may be `start_id`."""
        vectors = self.inputs(self._with_boundaries(ids, backward))
        return self.stack(backward)(vectors, state, reset=reset)

    def _with_boundaries(self, ids: Tensor, backward: bool | int) -> Tensor:
        """The boundaries `<s>` and `</s>` of a sentence, exchanged for the backward model."""
        first, last = self.vocabulary.size + bool(backward), self.vocabulary.size + (not backward)
        starts = ids == self.start_id
        return ids.masked_fill(ids == self.vocabulary.eos_id, last).masked_fill(starts, first)

    # Vectors.

    def embed(
        self, sentences: Sequence[str] | Sequence[Sequence[str]], *, stateful: bool = False
    ) -> list[Tensor]:
        """Per sentence (num_layers, tokens, width); see `Encoder.embed`.

        stateful: as in the original, sentence k continues with the final states of sentence k of the last call, so that
        vectors depend on earlier sentences; `forget` ends it.
        """
        refuse_one_string(sentences, "sentences")
        read = Reader(self.inputs, self.tokenizer).read(sentences)
        if stateful:
            return [self._carry_on(row, sentence) for row, sentence in enumerate(read)]
        return self._vectors(read)

    def embed_encoded(self, sentences: Sequence[str], encodings: Sequence[Encoding]) -> list[Tensor]:
        return self._vectors(Reader(self.inputs, self.tokenizer).read_encoded(sentences, encodings))

    def _vectors(self, sentences: Sequence[Sentence]) -> list[Tensor]:
        return bidirectional(self.forward_stack, self.backward_stack, sentences, self.boundaries())

    def token_codes(self, ids: Sequence[int], spellings: Sequence[str]) -> Tensor:
        return self.inputs.token_codes(ids, spellings)

    def code_vectors(self, codes: Tensor) -> Tensor:
        return self.inputs.code_vectors(codes)

    def boundaries(self) -> Tensor:
        return self.inputs.boundaries()

    def forget(self) -> None:
        """Reset the states of `embed(stateful=True)`."""
        self._carried.clear()

    def _carry_on(self, row: int, sentence: Sentence) -> Tensor:
        """One sentence, including its boundaries, from the states of its row."""
        if row == len(self._carried):
            self._carried.append((self.forward_stack.initial_state(1), self.backward_stack.initial_state(1)))
        first, last = self.boundaries()
        whole = torch.cat([first[None], sentence.vectors, last[None]])
        forward, backward = self._carried[row]
        ahead, forward = self.forward_stack.layer_outputs(whole[None], forward)
        behind, backward = self.backward_stack.layer_outputs(whole.flip(0)[None], backward)
        self._carried[row] = states.detach(forward), states.detach(backward)
        layers = [torch.cat([whole, whole], 1)]
        layers += [torch.cat([f[0], b[0].flip(0)], 1) for f, b in zip(ahead, behind, strict=True)]
        return sentence.joined(torch.stack(layers)[:, 1:-1])


def _both_ways(window: Window) -> Tensor:
    """(2 * batch * time,) the targets of both directions."""
    assert window.backward is not None
    return derive(lambda *ways: torch.stack(ways).flatten(), window.targets, window.backward.targets)


def _stack(options: BiLMOptions, width: int) -> Recurrent:
    """The layers of one direction."""
    return Recurrent(
        width,
        options.hidden_size,
        options.num_layers,
        options.cell,
        options=options,
        # The first layer's input is the token's vector, which is layer 0 already.
        first_residual=1,
    )


def _check_filters(options: BiLMOptions, width: int) -> None:
    """Raise UsageError if filters without a projection do not sum to the width of a token."""
    total = sum(number for _, number in parse_filters(options.filters))
    if not options.project_filters and total != width:
        raise UsageError(
            f"--no-project-filters needs filters that sum to the width of a token, {width}, not {total}"
        )
