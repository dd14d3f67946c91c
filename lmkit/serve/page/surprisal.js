// A text coloured by surprisal; a chosen unit shows what the model expected in its place.

import { Latest, post } from "./api.js";
import { bars, byId, colour, debounced, details, el, table, visible } from "./dom.js";
import { able, answer, chosen, done, problem, report, say } from "./runs.js";
import { EXAMPLES, text } from "./text.js";

const latest = new Latest();
const places = new Latest();
const SHOWN = 10;

export async function update() {
  const runs = chosen();
  const model = able(runs, "surprisal");
  const written = byId("surprisal-text").value;
  const parent = byId("surprisal-cards");
  latest.stop();
  if (!written.trim()) {
    parent.replaceChildren();
    say(text("needsText"));
    return;
  }
  if (!model.length) {
    answer(parent, runs, { data: [] });
    say(runs.length ? "" : text("noModel"));
    return;
  }
  say(text("working"));
  try {
    const asked = { model, text: written, by: byId("surprisal-by").value };
    const found = await latest.ask((signal) => post("surprisal", asked, signal));
    if (found === undefined) return;
    done(answer(parent, runs, found, (records, run) => coloured(records, run, written)));
  } catch (error) {
    parent.replaceChildren();
    report(error);
  }
}

export function leave() {
  latest.stop();
  places.stop();
}

const bitsOf = (record) => (record.surprisal === null ? Infinity : record.surprisal);
const shown = (record) => (record.text ? visible(record.text) : "⏎");

function coloured(records, run, written) {
  const most = Math.max(1, ...records.map(bitsOf).filter(Number.isFinite));
  const lines = written.replaceAll("\r\n", "\n").split("\n").map((line) => Array.from(line)); // places are characters, not UTF-16
  const paragraphs = new Map(); // by line, each in its own direction of writing
  const panel = el("div", { "aria-live": "polite" });
  const buttons = [];
  records.forEach((record, place) => {
    const bits = `${bitsOf(record).toFixed(2)} ${text("bits")}`;
    const label = `${record.text || text("lineEnd")}, ${bits}`;
    const button = el("button", { type: "button", title: bits, "aria-label": label, "aria-pressed": "false" }, shown(record));
    button.tabIndex = place ? -1 : 0;
    button.addEventListener("click", () => {
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
      expected(panel, run, record, lines);
    });
    buttons.push(colour(button, bitsOf(record) / most));
    const after = records[place + 1];
    const gap = after && after.line === record.line ? lines[record.line - 1].slice(record.end, after.start).join("") : "";
    if (!paragraphs.has(record.line)) paragraphs.set(record.line, el("p", { class: "words", dir: "auto" }));
    paragraphs.get(record.line).append(button, gap);
  });
  const units = el("div", {}, ...paragraphs.values());
  units.addEventListener("keydown", (event) => walk(event, buttons));
  const rows = records.map((record) => [record.text ? visible(record.text) : text("lineEnd"), bitsOf(record).toFixed(2)]);
  const total = records.map(bitsOf).reduce((sum, bits) => sum + bits, 0);
  return [
    units,
    el("p", { class: "note" }, `${text("strongest")} ${most.toFixed(1)} ${text("bits")} · Σ ${total.toFixed(1)} ${text("bits")}`),
    panel,
    details(text("unitsTable"), table(`${run}: ${text("surprisalOf")}`, [text("word"), text("bits")], rows)),
  ];
}

// One tab stop for all units; arrow keys walk among them.
function walk(event, buttons) {
  const place = buttons.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (place < 0 || (!step && event.key !== "Home" && event.key !== "End")) return;
  event.preventDefault();
  const to = event.key === "Home" ? 0 : event.key === "End" ? buttons.length - 1 : place + step;
  const button = buttons[Math.max(0, Math.min(buttons.length - 1, to))];
  for (const one of buttons) one.tabIndex = one === button ? 0 : -1;
  button.focus();
}

async function expected(panel, run, record, lines) {
  const before = lines.slice(0, record.line - 1).map((line) => `${line.join("")}\n`).join("");
  const own = lines[record.line - 1].slice(0, record.start).join("");
  try {
    const asked = { model: run, text: before + own, k: SHOWN };
    const found = await places.ask((signal) => post("next", asked, signal));
    if (found === undefined) return;
    const tokens = found.data[0].tokens;
    let actual = tokens.findIndex((token) => (record.text ? token.text.trim() === record.text : token.text === "\n"));
    const title = `${text("expected")}${shown(record)}`;
    const entries = tokens.map((token) => [visible(token.text), token.probability]);
    if (actual < 0 && byId("surprisal-by").value === "token") {
      actual = entries.length; // below the most probable ones
      entries.push([shown(record), 2 ** -bitsOf(record)]);
    }
    panel.replaceChildren(el("h3", {}, title), bars(title, [text("next"), text("probability")], entries, actual));
  } catch (error) {
    panel.replaceChildren(el("p", { class: "note" }, problem(error)));
  }
}

export function start() {
  byId("surprisal-text").value = EXAMPLES.surprisal;
  byId("surprisal-text").addEventListener("input", debounced(update));
  byId("surprisal-by").addEventListener("change", update);
}
