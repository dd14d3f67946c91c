// The context slider: what each model expects after exactly the last k tokens, and one token's probability by k.

import { Latest, post } from "./api.js";
import { bars, byId, debounced, details, el, svg, table, visible } from "./dom.js";
import { able, answer, byRun, chosen, done, report, say } from "./runs.js";
import { EXAMPLES, text } from "./text.js";

const latest = new Latest();
const curves = new Latest();
const SHOWN = 8;
const MOST = 1000; // of the tokens with a probability
const POINTS = 48;
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#C46D9C", "#3D8FC4", "#A67300"]; // those of lmkit/html/chart.py
const DASHES = ["none", "7 4", "2 3", "9 3 2 3"];
const [LEFT, RIGHT, TOP, BOTTOM, WIDTH, HEIGHT] = [66, 14, 16, 50, 520, 290];

const size = byId("context-size");
const beginning = () => byId("context-text").value;

// The end of the slider means the whole text.
const limit = () => (Number(size.value) >= Number(size.max) ? null : Number(size.value));

function showSize() {
  byId("context-shown").textContent = limit() === null ? text("everything") : size.value;
}

// A new text: how many tokens it has decides how long the slider is.
export async function update() {
  const runs = chosen();
  const model = able(runs, "next");
  if (!model.length) {
    latest.stop();
    curves.stop();
    answer(byId("context-cards"), runs, { data: [] });
    byId("context-chart").replaceChildren();
    say(runs.length ? "" : text("noModel"));
    return;
  }
  say(text("working"));
  try {
    const found = await latest.ask((signal) => post("next", { model, text: beginning(), k: SHOWN }, signal));
    if (found === undefined) return;
    const before = limit();
    const longest = Math.max(1, ...found.data.map((record) => record.read));
    size.max = longest + 1;
    size.value = before === null ? longest + 1 : Math.min(before, longest);
    showSize();
    if (limit() === null) show(runs, found);
    else await move();
    await curve(model, found, longest);
  } catch (error) {
    report(error);
  }
}

export function leave() {
  latest.stop();
  curves.stop();
}

async function move() {
  const runs = chosen();
  const model = able(runs, "next");
  showSize();
  if (!model.length) return;
  try {
    const asked = { model, text: beginning(), k: SHOWN, context: limit() };
    const found = await latest.ask((signal) => post("next", asked, signal));
    if (found !== undefined) show(runs, found);
  } catch (error) {
    report(error);
  }
}

function show(runs, found) {
  const failed = answer(byId("context-cards"), runs, found, ([record], run) => {
    const entries = record.tokens.map((token) => [visible(token.text), token.probability]);
    return [
      bars(`${run}: ${text("next")}`, [text("next"), text("probability")], entries),
      el("p", { class: "note" }, facts(record)),
    ];
  });
  done(failed);
}

function facts({ read, entropy }) {
  const known = Number.isFinite(entropy) ? ` · ${text("entropy")} ${entropy.toFixed(2)} ${text("bits")}` : "";
  return `${text("read")} ${read}${known}`;
}

// Ask for k = 0, 1, 2 ... and draw the watched token's probability after each.
async function curve(model, whole, longest) {
  const watched = new Map();
  const given = byId("context-word").value.trim();
  const best = whole.data.map((record) => record.tokens[0]).sort((a, b) => b.probability - a.probability)[0];
  const word = given || best?.text;
  const step = Math.ceil((longest + 1) / POINTS);
  const sizes = [];
  for (let k = 0; k <= longest; k += step) sizes.push(k);
  const draw = (...more) => byId("context-chart").replaceChildren(chart(word, watched, longest), ...more);
  await curves.ask(async (signal) => {
    for (const context of sizes) {
      const found = await post("next", { model, text: beginning(), k: MOST, context }, signal);
      if (signal.aborted) return;
      for (const [run, [record]] of byRun(found.data)) {
        const token = record.tokens.find((one) => one.text === word);
        if (!watched.has(run)) watched.set(run, []);
        watched.get(run).push([context, token ? token.probability : null]);
      }
      if (context % (4 * step) === 0) draw();
    }
    draw(numbers(word, watched)); // only now, as an open table would close at each drawing
  });
}

const titled = (word) => `${text("chart")}${visible(word ?? "")}`;

function chart(word, watched, longest) {
  const x = (k) => LEFT + (k / Math.max(1, longest)) * (WIDTH - LEFT - RIGHT);
  const y = (p) => HEIGHT - BOTTOM - p * (HEIGHT - BOTTOM - TOP);
  const title = titled(word);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const p of [0, 0.25, 0.5, 0.75, 1]) {
    drawing.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(p), y2: y(p) }));
    drawing.append(svg("text", { x: LEFT - 6, y: y(p) + 4, "text-anchor": "end" }, `${100 * p} %`));
  }
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((one) => longest / one <= 8) ?? 1000;
  for (let k = 0; k <= longest; k += every) {
    drawing.append(svg("text", { x: x(k), y: HEIGHT - BOTTOM + 20, "text-anchor": "middle" }, String(k)));
  }
  drawing.append(svg("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 7, "text-anchor": "middle" }, text("axis")));
  const legend = el("ul", { class: "legend" });
  [...watched].forEach(([run, points], place) => {
    const look = { fill: "none", stroke: COLOURS[place % COLOURS.length], "stroke-width": 2, "stroke-dasharray": DASHES[place % DASHES.length] };
    let pen = "M";
    const path = points.map(([k, p]) => {
      if (p === null) {
        pen = "M";
        return "";
      }
      const part = `${pen}${x(k).toFixed(1)} ${y(p).toFixed(1)}`;
      pen = "L";
      return part;
    });
    drawing.append(svg("path", { d: path.join(""), ...look }));
    const key = svg("svg", { viewBox: "0 0 30 12", "aria-hidden": "true" }, svg("path", { d: "M0 6H30", ...look }));
    const known = points.some(([, p]) => p !== null);
    legend.append(el("li", {}, key, known ? run : `${run} (${text("notSeen")})`));
  });
  return el("figure", {}, el("figcaption", {}, title), drawing, legend);
}

function numbers(word, watched) {
  const sizes = [...new Set([...watched.values()].flat().map(([k]) => k))];
  const cell = (points, k) => points.find((one) => one[0] === k)?.[1]?.toFixed(4) ?? "";
  const rows = sizes.map((k) => [String(k), ...[...watched.values()].map((points) => cell(points, k))]);
  return details(text("chartTable"), table(titled(word), [text("axis"), ...watched.keys()], rows));
}

export function start() {
  byId("context-text").value = EXAMPLES.context;
  const later = debounced(update);
  byId("context-text").addEventListener("input", later);
  byId("context-word").addEventListener("input", later);
  size.value = size.max;
  size.addEventListener("input", debounced(move, 60));
  size.addEventListener("input", showSize);
}
