// Generate text from an ONNX file of lmkit, with onnxruntime-node alone: node generate.mjs FILE [PROMPT] [TOKENS].
import { readFileSync } from "node:fs";
import ort from "onnxruntime-node";

const [file, prompt = "", most = "50"] = process.argv.slice(2);
const session = await ort.InferenceSession.create(file);
const facts = metadata(readFileSync(file));
const vocabulary = JSON.parse(facts["lmkit.tokenizer"]);
const leaves = JSON.parse(facts["lmkit.state"]);
// A token is a text, or a byte by its number.
const tokens = vocabulary.tokens.map((token) => (typeof token === "number" ? Buffer.of(token) : Buffer.from(token)));
let state = Object.fromEntries(leaves.map((leaf) => [leaf.input, initial(leaf)]));
const read = encode(prompt);
let unread = [vocabulary.start_id, ...read];
const found = [];
while (found.length < Number(most)) {
  let output;
  for (const id of unread) {
    const ids = new ort.Tensor("int64", BigInt64Array.of(BigInt(id)), [1]);
    output = await session.run({ ids, ...state });
    state = Object.fromEntries(leaves.map((leaf) => [leaf.input, output[leaf.output]]));
  }
  const scores = output.logits.data;
  if (vocabulary.unk_id !== null) scores[vocabulary.unk_id] = -Infinity;
  const best = scores.reduce((so_far, score, id) => (score > scores[so_far] ? id : so_far), 0);
  unread = [best];
  found.push(best);
  if (best === vocabulary.eos_id && facts["lmkit.reset"] === "line") break;
}
console.log(decode([...read, ...found]).replace(/\n+$/, ""));

// The ids of a prompt, for tokenizers of words, characters and bytes; a model of pieces begins without a prompt.
function encode(text) {
  if (!text) return [];
  const parts = {
    word: () => text.split(/\s+/).filter(Boolean).map((word) => Buffer.from(word)),
    char: () => [...text].map((character) => Buffer.from(character)),
    byte: () => [...Buffer.from(text)].map((byte) => Buffer.of(byte)),
  };
  if (!(vocabulary.unit in parts)) {
    console.error(`this script cannot split a prompt by the tokenizer ${vocabulary.name}: leave the prompt out`);
    process.exit(2);
  }
  const known = new Map(tokens.map((token, id) => [token.toString("hex"), id]));
  return parts[vocabulary.unit]().map((token) => known.get(token.toString("hex")) ?? vocabulary.unk_id);
}

// The text of ids: lines of tokens, and their ends.
function decode(ids) {
  const parts = [];
  ids.forEach((id, place) => {
    const ends = id === vocabulary.eos_id;
    const inside = place > 0 && !ends && ids[place - 1] !== vocabulary.eos_id;
    parts.push(Buffer.from(inside ? vocabulary.join : ""), ends ? Buffer.from("\n") : tokens[id]);
  });
  return Buffer.concat(parts).toString();
}

// The tensor of one row before anything is read.
function initial({ shape, type, initial: numbers }) {
  const dims = [1, ...shape];
  const values = Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => numbers[i % numbers.length]);
  return new ort.Tensor(type, type === "int64" ? values.map(BigInt) : values.map(Number), dims);
}

// The texts by name in a file (metadata_props, field 14 of a model), which onnxruntime-node does not give.
function metadata(bytes) {
  const texts = {};
  for (const [field, entry] of fields(bytes)) {
    if (field !== 14) continue;
    const [key, value] = [...fields(entry)].map(([, text]) => text.toString());
    texts[key] = value ?? "";
  }
  return texts;
}

// The fields of a protocol buffer: [number, bytes], without those that are numbers.
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0, scale = 1, byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return value;
  };
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) === 0) varint();
    else if ((tag & 7) === 1) at += 8;
    else if ((tag & 7) === 5) at += 4;
    else {
      const size = varint();
      yield [Math.floor(tag / 8), bytes.subarray(at, at + size)];
      at += size;
    }
  }
}
