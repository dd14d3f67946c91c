// Texts that the models write at the same time, token by token.

import { stream } from "./api.js";
import { byId, el, scroller } from "./dom.js";
import { able, addError, cards, chosen, done, problem, put, putUnable, say } from "./runs.js";
import { EXAMPLES, text } from "./text.js";

let controller = new AbortController();

async function write() {
  stop();
  const runs = chosen();
  if (!runs.length) {
    say(text("noModel"));
    return;
  }
  const own = (controller = new AbortController());
  const writing = new Set(able(runs, "completions"));
  const shown = [...cards(byId("write-cards"), runs)];
  for (const [run, card] of shown) if (!writing.has(run)) putUnable(card, run);
  byId("write-stop").disabled = !writing.size;
  if (!writing.size) {
    say("");
    return;
  }
  say(text("working"));
  const ended = await Promise.all(shown.filter(([run]) => writing.has(run)).map(([run, card]) => one(run, card, own.signal)));
  if (own !== controller) return;
  byId("write-stop").disabled = true;
  if (own.signal.aborted) say(text("stopped"));
  else done(ended.includes(false));
}

// Whether a text came to its end, or was stopped.
async function one(run, card, signal) {
  const prompt = byId("write-prompt").value;
  const seed = byId("write-seed").value;
  const written = document.createTextNode("");
  const shown = el("p", { class: "written", dir: "auto" }, el("i", {}, prompt), written);
  put(card, scroller(`${run}: ${text("tabWrite")}`, shown));
  const asked = {
    model: run,
    prompt,
    max_tokens: Number(byId("write-tokens").value) || 1,
    temperature: Number(byId("write-temperature").value),
    ...(seed === "" ? {} : { seed: Number(seed) }),
  };
  try {
    await stream("v1/completions", asked, (event) => written.appendData(event.choices[0]?.text ?? ""), signal);
  } catch (error) {
    if (signal.aborted) return true;
    addError(card, problem(error));
    return false;
  }
  return true;
}

function stop() {
  controller.abort();
}

// Texts go on in the background.
export function leave() {}

const temperature = byId("write-temperature");

export function update() {
  byId("write-shown").textContent = Number(temperature.value).toFixed(1);
  const known = new Set(chosen());
  for (const card of [...byId("write-cards").children]) if (!known.has(card.dataset.run)) card.remove();
  if (controller.signal.aborted || !byId("write-cards").children.length) say("");
}

export function start() {
  byId("write-prompt").value = EXAMPLES.write;
  temperature.addEventListener("input", update);
  byId("write-form").addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  byId("write-stop").addEventListener("click", stop);
}
