"""Wrong tokenizers; each docstring ends with the name of the rule that the tokenizer breaks."""

import re

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary

EOS, UNK, FIRST = 256, 257, 258
WORD = re.compile(r"\S+")


class Bytes(Tokenizer):
    """Every byte is a token: right, for the wrong ones to inherit from."""

    lossless = True

    def __init__(self):
        self.vocabulary = Vocabulary(257, EOS, None, "bytes")

    @classmethod
    def fit(cls, lines, options):
        return cls()

    def encode(self, line):
        spans = [(place, place + 1) for place, c in enumerate(line) for _ in c.encode()]
        return Encoding(np.frombuffer(line.encode(), np.uint8).astype(np.int32), self.spans(spans))

    def spans(self, spans):
        return np.array(spans, np.int64).reshape(-1, 2)

    def decode(self, ids):
        return bytes(i for i in ids if i != EOS).decode(errors="replace")

    def residual_bits(self, line, ids):
        return 0.0

    def save(self, directory):
        pass

    @classmethod
    def load(cls, directory, options):
        return cls()


class CountsBytes(Bytes):
    """Gives spans in bytes, which are right for ASCII alone (check_spans)."""

    def encode(self, line):
        ids = super().encode(line).ids
        return Encoding(ids, self.spans([(place, place + 1) for place in range(len(ids))]))


class OneCharacterLate(Bytes):
    """Gives each token the span of the next one (check_span_text)."""

    def encode(self, line):
        encoding = super().encode(line)
        return Encoding(encoding.ids, np.concatenate([encoding.spans[1:], encoding.spans[-1:]]))


class LowerCase(Bytes):
    """Drops case, and pays nothing for it (check_residual_code)."""

    lossless = False

    def encode(self, line):
        small = "".join(c.lower() if len(c.lower()) == 1 else c for c in line)
        return super().encode(small)


class CutsLongLines(Bytes):
    """Reads the first 512 tokens of a line (check_long_line)."""

    lossless = False

    def encode(self, line):
        encoding = super().encode(line)
        return Encoding(encoding.ids[:512], encoding.spans[:512])


class SaysLossless(Bytes):
    """Strips white space, and declares itself lossless (check_decode)."""

    def decode(self, ids):
        return super().decode(ids).strip()


class WideIds(Bytes):
    """Returns int64, as numpy makes of a list (check_ids)."""

    def encode(self, line):
        encoding = super().encode(line)
        return Encoding(np.array(encoding.ids.tolist(), np.int64), encoding.spans)


class Words(Bytes):
    """Words of the training text with ids, and all else by bytes: right, for the wrong ones to inherit from."""

    def __init__(self, words):
        self.words = list(words)
        self.vocabulary = Vocabulary(FIRST + len(self.words), EOS, UNK, "words")

    @classmethod
    def fit(cls, lines, options):
        return cls(sorted({word for line in lines for word in WORD.findall(line)}))

    def encode(self, line):
        ids, spans, place = [], [], 0
        numbers = {word: FIRST + number for number, word in enumerate(self.words)}
        for part in re.findall(r"\S+|\s+", line):
            if part in numbers:
                ids.append(numbers[part])
                spans.append((place, place + len(part)))
            else:
                known = super().encode(part)
                ids += known.ids.tolist()
                spans += (known.spans + place).tolist()
            place += len(part)
        return Encoding(np.array(ids, np.int32), self.spans(spans))

    def decode(self, ids):
        raw = b"".join(bytes([i]) if i < EOS else self.text(i).encode() for i in ids)
        return raw.decode(errors="replace")

    def text(self, i):
        return {EOS: "", UNK: "\ufffd"}.get(i) or (self.words[i - FIRST] if i >= FIRST else "")

    def save(self, directory):
        (directory / "words.txt").write_text("\n".join(self.words), encoding="utf-8")

    @classmethod
    def load(cls, directory, options):
        return cls((directory / "words.txt").read_text(encoding="utf-8").split("\n"))


class LosesTheOrder(Words):
    """Saves its words in another order than that of their ids (check_save)."""

    def save(self, directory):
        words = sorted(self.words, key=lambda word: (len(word), word))
        (directory / "words.txt").write_text("\n".join(words), encoding="utf-8")


class OrderOfTheMoment(Words):
    """Numbers words in an order that changes from fit to fit, as that of a set can (check_fit_again)."""

    fits = 0

    @classmethod
    def fit(cls, lines, options):
        cls.fits += 1
        words = sorted({word for line in lines for word in WORD.findall(line)})
        start = cls.fits % len(words)
        return cls(words[start:] + words[:start])
