// Start the page: models, tabs, language and the views.

import { get, keep } from "./api.js";
import { byId } from "./dom.js";
import * as context from "./context.js";
import * as fill from "./fill.js";
import * as surprisal from "./surprisal.js";
import * as write from "./write.js";
import { listModels, relist, report, say } from "./runs.js";
import { switchLanguage, text, translate } from "./text.js";

const VIEWS = { fill, context, surprisal, write };
const tabs = [...document.querySelectorAll("[role=tab]")];
let shown = "fill";
const update = () => VIEWS[shown].update();

function show(name, focus = false) {
  if (name !== shown) VIEWS[shown].leave(); // its questions would delay those of the next view
  shown = name;
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(`view-${tab.id.slice(4)}`).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  update();
}

function startTabs() {
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => show(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : place + (step ?? 0);
      if (to === place && event.key !== "Home" && event.key !== "End") return;
      event.preventDefault();
      show(tabs[(to + tabs.length) % tabs.length].id.slice(4), true);
    });
  });
}

function startLanguage() {
  const button = byId("language");
  const label = () => {
    button.textContent = text("otherLanguage");
    button.lang = document.documentElement.lang === "en" ? "zh-CN" : "en";
    byId("fill-examples").setAttribute("aria-label", text("examples"));
    byId("tabs").setAttribute("aria-label", text("views"));
  };
  button.addEventListener("click", () => {
    switchLanguage();
    label();
    relist(update);
    update();
  });
  translate();
  label();
}

async function start() {
  try {
    listModels((await get("v1/models")).data, update);
  } catch (error) {
    byId("access").hidden = error.status !== 401;
    if (error.status === 401) byId("token").focus();
    report(error);
    return;
  }
  byId("access").hidden = true;
  say("");
  show(shown);
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(byId("token").value.trim());
  start();
});
startLanguage();
startTabs();
for (const view of Object.values(VIEWS)) view.start();
start();
