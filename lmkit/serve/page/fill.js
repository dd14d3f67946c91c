// A blank: what each model fills in, and the words that its answer depends on.

import { Latest, post } from "./api.js";
import { bars, byId, colour, debounced, details, el, table } from "./dom.js";
import { able, addError, answer, chosen, done, problem, report, say } from "./runs.js";
import { EXAMPLES, text } from "./text.js";

const latest = new Latest();
const BLANK = /_{2,}/g;

function question() {
  const candidates = byId("fill-candidates").value.split(/[,，]/).map((one) => one.trim()).filter(Boolean);
  return { text: byId("fill-text").value.trim(), candidates: candidates.length ? candidates : null };
}

export async function update() {
  const asked = question();
  const runs = chosen();
  const parent = byId("fill-cards");
  if (!runs.length || asked.text.match(BLANK)?.length !== 1) {
    latest.stop();
    parent.replaceChildren();
    say(text(runs.length ? "needsBlank" : "noModel"));
    return;
  }
  say(text("working"));
  try {
    await latest.ask((signal) => fill(parent, runs, asked, signal));
  } catch (error) {
    parent.replaceChildren();
    report(error);
  }
}

export const leave = () => latest.stop();

async function fill(parent, runs, asked, signal) {
  const model = able(runs, "fill");
  const filled = model.length ? await post("fill", { ...asked, model, top: 8 }, signal) : { data: [] };
  if (signal.aborted) return;
  let failed = answer(parent, runs, filled, (rows, run) => [ranking(run, rows)]);
  const answering = new Set(filled.data.map((row) => row.run));
  if (answering.size) say(text("explaining"));
  // One at a time, since some models take long for a long line: each shows its reasons as soon as it has them.
  for (const run of able([...answering], "why")) {
    const card = [...parent.children].find((one) => one.dataset.run === run);
    try {
      const { data } = await post("why", { ...asked, model: run }, signal);
      if (signal.aborted) return;
      card.lastElementChild.append(...heat(run, data[0]));
    } catch (error) {
      if (signal.aborted) return;
      addError(card, problem(error));
      failed = true;
    }
  }
  done(failed);
}

function ranking(run, rows) {
  const found = bars(`${run}: ${text("answer")}`, [text("answer"), text("share")], rows.map((row) => [row.text, row.share]));
  const unknown = rows.flatMap((row) => row.unknown ?? []);
  const notes = [];
  if (rows[0].two_sided) notes.push(text("twoSided"));
  if (unknown.length) notes.push(`${text("unknown")}: ${[...new Set(unknown)].join(", ")}`);
  return el("div", {}, found, ...notes.map((one) => el("p", { class: "note" }, one)));
}

function heat(run, { answer: best, space, words }) {
  const costs = words.filter((part) => part && Number.isFinite(part.cost)).map((part) => Math.abs(part.cost));
  const most = Math.max(1e-9, ...costs);
  const shown = words.flatMap((part) => {
    if (!part) return [el("b", {}, best), space ?? ""];
    const cost = part.cost ?? 0;
    const word = el("span", { title: `${cost.toFixed(2)} ${text("nats")}` }, part.text);
    return [colour(word, cost / most), part.space ?? ""];
  });
  const rows = words.filter(Boolean).map((part) => [part.text, part.cost === null ? "" : part.cost.toFixed(2)]);
  return [
    el("p", { class: "words", dir: "auto" }, ...shown),
    el("p", { class: "note" }, `${text("strongest")} ${most.toFixed(2)} ${text("nats")}`),
    details(text("wordsTable"), table(`${run}: ${text("cost")}`, [text("word"), text("cost")], rows)),
  ];
}

export function start() {
  byId("fill-text").value = EXAMPLES.fill[0];
  const later = debounced(update);
  byId("fill-text").addEventListener("input", later);
  byId("fill-candidates").addEventListener("input", later);
  byId("fill-examples").replaceChildren(
    ...EXAMPLES.fill.map((example) => {
      const button = el("button", { type: "button", title: example }, example);
      button.addEventListener("click", () => {
        byId("fill-text").value = example;
        byId("fill-candidates").value = "";
        update();
      });
      return button;
    }),
  );
}
