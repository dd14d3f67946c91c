"""Vectors of the tokens of lines from an encoder's ONNX file, with onnxruntime and numpy alone: embed.py FILE LINE...

It prints a JSON object for each token: its text and the mean of its layers. For pieces it also needs sentencepiece.
"""

import base64
import json
import sys

import numpy as np
import onnxruntime

LENGTH, BEGIN, END, PAD = 50, 259, 260, 261
"""A word as characters: its start, at most 48 bytes, each plus one, its end, and padding."""


def split(line):
    """The tokens of a line as texts, and their ids."""
    if vocabulary["unit"] == "piece":
        from sentencepiece import SentencePieceProcessor

        model = base64.b64decode(vocabulary["files"]["sentencepiece.model"])
        pieces = SentencePieceProcessor(model_proto=model)
        return pieces.encode(line, out_type=str), pieces.encode(line)
    parts = {
        "word": lambda: [word.encode() for word in line.split()],
        "char": lambda: [character.encode() for character in line],
        "byte": lambda: [bytes([byte]) for byte in line.encode()],
    }
    found = parts[vocabulary["unit"]]()
    # A token is a text, or a byte by its number.
    tokens = [bytes([token]) if isinstance(token, int) else token.encode() for token in vocabulary["tokens"]]
    known = {token: id_ for id_, token in enumerate(tokens)}
    ids = [known.get(token, vocabulary["unk_id"]) for token in found]
    return [token.decode(errors="replace") for token in found], ids


def codes(line):
    """What the file reads of a line: ids, or the characters of each token."""
    texts, ids = split(line)
    if "spellings" not in vocabulary:
        return texts, np.array(ids, np.int64)
    spellings = [
        text if id_ == vocabulary["unk_id"] else vocabulary["spellings"][id_]
        for text, id_ in zip(texts, ids, strict=True)
    ]
    return texts, np.array([characters(spelling) for spelling in spellings]).reshape(-1, LENGTH)


def characters(word):
    """The row of numbers of a word."""
    spelled = word.encode(errors="ignore")[: LENGTH - 2]
    row = [BEGIN, *(byte + 1 for byte in spelled), END]
    return row + [PAD] * (LENGTH - len(row))


file, *lines = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map
vocabulary = json.loads(facts["lmkit.tokenizer"])
read = [codes(line) for line in lines]
lengths = np.array([len(texts) for texts, _ in read])
# What stands after the length of a row is not read.
shape = (len(read), max(1, *lengths), *read[0][1].shape[1:])
padded = np.zeros(shape, np.int64)
for row, (_, line) in zip(padded, read, strict=True):
    row[: len(line)] = line
name = session.get_inputs()[0].name
(mix,) = session.run(["mix"], {name: padded, "lengths": lengths})
for (texts, _), vectors in zip(read, mix, strict=True):
    for text, vector in zip(texts, vectors[: len(texts)], strict=True):
        print(json.dumps({"token": text, "vector": vector.tolist()}))
