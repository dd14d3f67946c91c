// Texts that the models write at the same time, token by token.

import { stream } from "./api.js";
import { byId, el } from "./dom.js";
import { cards, chosen, put, putError, say } from "./runs.js";
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
  byId("write-stop").disabled = false;
  say(text("working"));
  await Promise.all([...cards(byId("write-cards"), runs)].map(([run, card]) => one(run, card, own.signal)));
  if (own !== controller) return;
  byId("write-stop").disabled = true;
  say(text(own.signal.aborted ? "stopped" : "ready"));
}

async function one(run, card, signal) {
  const prompt = byId("write-prompt").value;
  const seed = byId("write-seed").value;
  const written = document.createTextNode("");
  put(card, el("p", { class: "written", dir: "auto" }, el("i", {}, prompt), written));
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
    if (!signal.aborted) putError(card, error.message);
  }
}

function stop() {
  controller.abort();
}

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
