// Make elements. Text from models and people goes through text nodes alone, so that no markup in it takes effect.

const RED = "213, 94, 0";
const BLUE = "0, 114, 178";
const STRONGEST = 0.65; // text on the full colour stays readable on white and on black

export const byId = (id) => document.getElementById(id);

export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// strength: -1 (blue) to 1 (red).
export function colour(element, strength) {
  const share = Math.min(1, Math.abs(strength));
  if (share >= 0.02) {
    element.style.backgroundColor = `rgba(${strength > 0 ? RED : BLUE}, ${(STRONGEST * share).toFixed(2)})`;
  }
  return element;
}

export function table(caption, header, rows) {
  const head = el("tr", {}, ...header.map((title) => el("th", { scope: "col" }, title)));
  const body = rows.map((cells) =>
    el("tr", {}, ...cells.map((cell, place) => (place === 0 ? el("th", { scope: "row" }, cell) : el("td", {}, cell)))),
  );
  return el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, ...body));
}

// A table of texts with a percentage and a bar each; chosen: the row to mark.
export function bars(caption, header, entries, chosen = -1) {
  const found = table(caption, header, entries.map(([text, share]) => [text, el("div", { class: "share" }, bar(share), el("span", {}, percent(share)))]));
  found.className = "bars";
  const row = found.tBodies[0].rows[chosen];
  if (row) {
    row.className = "chosen";
    row.setAttribute("aria-current", "true");
  }
  return found;
}

function bar(share) {
  const filled = el("div");
  filled.style.width = `${(100 * Math.min(1, share)).toFixed(1)}%`;
  return el("div", { class: "bar", "aria-hidden": "true" }, filled);
}

// A table that appears on a click.
export function details(summary, table) {
  return el("details", {}, el("summary", {}, summary), scroller(table.caption.textContent, table));
}

// A part that scrolls by itself if it is large, with the keyboard too. label: a name that no other part has.
export function scroller(label, part) {
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label }, part);
}

export function percent(share) {
  const value = 100 * share;
  return value >= 0.1 || value === 0 ? `${value.toFixed(1)}\u00a0%` : "<\u00a00.1\u00a0%";
}

// Signs for what is not visible.
export const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "␍") || "⏎";

// Call `work` some time after the last of several calls.
export function debounced(work, milliseconds = 300) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}
