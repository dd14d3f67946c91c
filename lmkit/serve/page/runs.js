// The chosen runs, a card for each, and the line that says what happens.

import { byId, el } from "./dom.js";
import { text } from "./text.js";

export const chosen = () => [...document.querySelectorAll("input[name=run]:checked")].map((box) => box.value);

export function say(message, failed = false) {
  const status = byId("status");
  status.className = failed ? "failed" : "";
  status.textContent = message;
}

export function report(error) {
  say(error ? `${text("failed")} ${error.message}` : "", Boolean(error));
}

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

export function putError(card, message) {
  put(card, el("p", { class: "note" }, message));
  card.className = "card failed";
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

// Show the answer for each run: `draw` makes the parts of a card from its records.
export function answer(parent, runs, { data, errors = [] }, draw) {
  const found = byRun(data);
  const problems = new Map(errors.map((one) => [one.run, one.message]));
  for (const [run, card] of cards(parent, runs)) {
    if (found.has(run)) put(card, ...draw(found.get(run), run));
    else putError(card, problems.get(run) ?? text("cannot"));
  }
}
