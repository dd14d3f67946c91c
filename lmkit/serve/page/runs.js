// The models: which are chosen, what each can do, a card for each, and the line that says what happens.

import { byId, el } from "./dom.js";
import { count, text } from "./text.js";

let models = [];

// List the models with a box each; those that were not chosen before stay so.
export function listModels(found, changed) {
  const left = new Set(unchosen());
  models = found;
  byId("runs").replaceChildren(
    ...models.map(({ id, lmkit: facts = {} }) => {
      const size = facts.parameters ? `${count(facts.parameters)} ${text("parameters")}` : "";
      const box = el("input", { type: "checkbox", value: id, checked: !left.has(id), name: "run" });
      box.addEventListener("change", changed);
      const about = el("small", {}, [facts.model, size].filter(Boolean).join(" · "));
      return el("label", {}, box, el("span", {}, id, " ", about));
    }),
  );
}

export const relist = (changed) => listModels(models, changed);
export const chosen = () => boxes(":checked");
const unchosen = () => boxes(":not(:checked)");
const boxes = (state) => [...document.querySelectorAll(`input[name=run]${state}`)].map((box) => box.value);

// Those of some runs that can answer a question: "fill", "why", "next", "surprisal" or "completions".
export const able = (runs, what) => runs.filter((run) => factsOf(run).does?.includes(what) ?? true);
const factsOf = (run) => models.find(({ id }) => id === run)?.lmkit ?? {};

export function say(message, failed = false) {
  const status = byId("status");
  status.className = failed ? "failed" : "";
  status.textContent = message;
}

export const done = (failed) => say(text(failed ? "partly" : "ready"), failed);
export const report = (error) => say(error.status === 0 ? problem(error) : `${text("failed")} ${problem(error)}`, true);
export const problem = (error) => (error.status === 0 ? text("gone") : error.message);

// Cards under a parent, one for each run, in order; existing ones stay, so that the page does not jump.
export function cards(parent, runs) {
  const old = new Map([...parent.children].map((card) => [card.dataset.run, card]));
  const found = runs.map((run) => {
    const card = old.get(run) ?? el("article", { class: "card", "data-run": run }, el("h2", {}, run), el("div"));
    return card;
  });
  parent.replaceChildren(...found);
  return new Map(runs.map((run, place) => [run, found[place]]));
}

export function put(card, ...parts) {
  card.className = "card";
  card.lastElementChild.replaceChildren(...parts);
}

// Add what went wrong to what a card shows.
export function addError(card, message) {
  card.className = "card failed";
  card.lastElementChild.append(el("p", { class: "note" }, message));
}

// A model that cannot answer is no failure, and says why.
export function putUnable(card, run) {
  const isEncoder = factsOf(run).kind === "encoder";
  put(card, el("p", { class: "note" }, text(isEncoder ? "encoder" : "cannot")));
}

// Records by run, in their order.
export function byRun(records) {
  const found = new Map();
  for (const record of records) {
    if (!found.has(record.run)) found.set(record.run, []);
    found.get(record.run).push(record);
  }
  return found;
}

// Show the answer for each run: `draw` makes the parts of a card from its records. Whether a run failed.
export function answer(parent, runs, { data, errors = [] }, draw) {
  const found = byRun(data);
  const problems = new Map(errors.map((one) => [one.run, one.message]));
  for (const [run, card] of cards(parent, runs)) {
    if (found.has(run)) {
      put(card, ...draw(found.get(run), run));
    } else if (problems.has(run)) {
      put(card);
      addError(card, problems.get(run));
    } else {
      putUnable(card, run);
    }
  }
  return errors.length > 0;
}
