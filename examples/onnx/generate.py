"""Generate text from an ONNX file of lmkit, with onnxruntime and numpy alone: python generate.py FILE [PROMPT].

To split a prompt into pieces, it also needs the library sentencepiece.
"""

import argparse
import base64
import json
from itertools import groupby

import numpy as np
import onnxruntime


def encode(text):
    """The ids of a prompt."""
    if vocabulary["unit"] == "piece":
        from sentencepiece import SentencePieceProcessor

        model = base64.b64decode(vocabulary["files"]["sentencepiece.model"])
        return SentencePieceProcessor(model_proto=model).encode(text) if text else []
    split = {
        "word": lambda text: [word.encode() for word in text.split()],
        "char": lambda text: [character.encode() for character in text],
        "byte": lambda text: [bytes([byte]) for byte in text.encode()],
    }
    known = {token: id_ for id_, token in enumerate(tokens)}
    return [known.get(token, vocabulary["unk_id"]) for token in split[vocabulary["unit"]](text)]


def decode(ids):
    """The text of ids: lines of tokens, and their ends."""
    lines = groupby(ids, key=lambda id_: id_ == vocabulary["eos_id"])
    parts = [
        (b"\n" if ends else join).join(tokens[id_] for id_ in line) + b"\n" * ends for ends, line in lines
    ]
    return b"".join(parts).decode(errors="replace")


parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("prompt", nargs="?", default="")
parser.add_argument("--max-tokens", type=int, default=50)
parser.add_argument("--temperature", type=float, default=0.0, help="0: always the most probable token")
given = parser.parse_args()

session = onnxruntime.InferenceSession(given.file, providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map
vocabulary, leaves = json.loads(facts["lmkit.tokenizer"]), json.loads(facts["lmkit.state"])
# A token is a text, or a byte by its number.
tokens = [bytes([token]) if isinstance(token, int) else token.encode() for token in vocabulary["tokens"]]
join = vocabulary["join"].encode()
state = {
    leaf["input"]: np.resize(np.array(leaf["initial"], leaf["type"]), (1, *leaf["shape"])) for leaf in leaves
}
prompt = encode(given.prompt)
unread, found = [vocabulary["start_id"], *prompt], []
while len(found) < given.max_tokens:
    for id_ in unread:
        logits, *after = session.run(None, {"ids": np.array([id_]), **state})
        state = {leaf["input"]: array for leaf, array in zip(leaves, after, strict=True)}
    scores = logits[0].astype(np.float64)
    if vocabulary["unk_id"] is not None:
        scores[vocabulary["unk_id"]] = -np.inf
    if given.temperature > 0:
        scores = scores / given.temperature + np.random.gumbel(size=len(scores))
    unread = [int(scores.argmax())]
    found += unread
    if unread == [vocabulary["eos_id"]] and facts["lmkit.reset"] == "line":
        break
print(decode(prompt + found).rstrip("\n"))
