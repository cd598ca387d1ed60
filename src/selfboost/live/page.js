// The page: asks the server for what is shown, again when something has changed, and obeys the keyboard.
import { answersView, pairsView, searchView } from "/lists.js";
import { el } from "/dom.js";
import { logView, overview, recipeView } from "/overview.js";

const TABS = { overview: "Overview", pairs: "Pairs", answers: "Before and after", search: "Search", log: "Log", recipe: "Recipe" };
const VIEWS = { overview, pairs: pairsView, answers: answersView, search: searchView, log: logView, recipe: recipeView };
const AGAIN = 1000; // milliseconds between two refreshes

export const page = { run: "", tab: "overview", query: "", runs: [], state: null, pulse: {}, overlaid: new Set(), states: new Map() };
let view = null, seen = "", timer = 0;

export async function ask(path, asked = {}) {
  const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  const reply = await fetch(`/api/${path}?${new URLSearchParams(given)}`);
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error);
  return found;
}

export function go(changes) {
  Object.assign(page, changes);
  const kept = { run: page.run, tab: page.tab, ...(page.query ? { q: page.query } : {}) };
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  show(Object.keys(changes).includes("query"));
}

function readHash() {
  const kept = new URLSearchParams(location.hash.slice(1));
  page.run = kept.get("run") ?? page.run;
  page.tab = kept.get("tab") in TABS ? kept.get("tab") : page.tab;
  page.query = kept.get("q") ?? "";
}

// Draw the part that is open from nothing; a search needs no new state.
async function show(searching = false) {
  try {
    await draw(searching);
  } catch (error) {
    document.getElementById("panel").replaceChildren(el("p", { class: "alarm" }, `The server does not answer (${error.message}).`));
  }
}

async function draw(searching) {
  drawTabs();
  const panel = document.getElementById("panel");
  document.getElementById("query").value = page.query;
  if (!searching || !page.state) await load();
  const fresh = VIEWS[page.tab](page, panel, { ask, go });
  view = fresh;
  await fresh.draw();
}

// Fetch the state of the run, and of those laid over it.
async function load() {
  page.runs = await ask("runs");
  if (!page.runs.some((run) => run.name === page.run)) page.run = page.runs[0]?.name ?? "";
  page.overlaid.add(page.run);
  const wanted = page.runs.filter((run) => run.name === page.run || (page.tab === "overview" && page.overlaid.has(run.name)));
  await Promise.all(wanted.map(async (run) => {
    if (page.states.get(run.name)?.version !== run.version) page.states.set(run.name, await ask("run", { run: run.name }));
  }));
  page.state = page.states.get(page.run) ?? null;
  drawHeader();
}

function drawHeader() {
  const choose = document.getElementById("run");
  const names = page.runs.map((run) => run.name).join("\n");
  if (choose.dataset.names !== names) {
    choose.dataset.names = names;
    choose.replaceChildren(...page.runs.map((run) => el("option", { value: run.name }, run.name)));
  }
  choose.value = page.run;
  const status = document.getElementById("status");
  status.className = `status ${page.state?.status ?? ""}`;
  status.textContent = page.state ? (page.state.problem ? "cannot be read" : page.state.status) : "no run here yet";
  document.title = page.state ? `${page.run}: ${page.state.status} – selfboost` : "selfboost";
}

function drawTabs() {
  const tabs = Object.entries(TABS).map(([name, title]) => {
    const selected = name === page.tab;
    const chosen = { role: "tab", id: `tab-${name}`, "aria-selected": String(selected), "aria-controls": "panel", tabindex: selected ? 0 : -1 };
    return el("button", { type: "button", ...chosen, onclick: () => go({ tab: name }) }, title);
  });
  document.getElementById("tabs").replaceChildren(...tabs);
  document.getElementById(`tab-${page.tab}`).scrollIntoView({ block: "nearest", inline: "nearest" });
  document.getElementById("panel").setAttribute("aria-labelledby", `tab-${page.tab}`);
}

function follow() {
  const events = new EventSource("/api/events");
  events.addEventListener("changed", (event) => {
    page.pulse = JSON.parse(event.data);
    view?.pulse?.();
    const now = JSON.stringify(Object.entries(page.pulse).map(([name, run]) => [name, run.version, run.rows]));
    if (now !== seen && !timer) timer = setTimeout(refresh, seen ? AGAIN : 0);
    seen = now;
  });
  events.addEventListener("error", () => {
    const status = document.getElementById("status");
    status.className = "status lost";
    status.textContent = "the server does not answer; trying again";
  });
  events.addEventListener("open", drawHeader);
}

async function refresh() {
  timer = 0;
  const current = view;
  try {
    await load();
    if (current === view) await view?.refresh?.();
  } catch {
    seen = ""; // the server is gone: asked again at its next event
  }
}

function step(names, current, by) {
  return names[(names.indexOf(current) + by + names.length) % names.length];
}

function onKey(event) {
  const help = document.getElementById("help"), query = document.getElementById("query");
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.key === "Escape") return void document.activeElement?.blur();
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const names = Object.keys(TABS), runs = page.runs.map((run) => run.name);
  const actions = {
    "/": () => { query.focus(); query.select(); },
    "?": () => help.showModal(),
    j: () => view?.move?.(1),
    k: () => view?.move?.(-1),
    Enter: () => event.target.tagName === "BUTTON" || event.target.tagName === "SUMMARY" ? false : view?.toggle?.(),
    ArrowRight: () => go({ tab: step(names, page.tab, 1) }),
    ArrowLeft: () => go({ tab: step(names, page.tab, -1) }),
    "]": () => go({ run: step(runs, page.run, 1) }),
    "[": () => go({ run: step(runs, page.run, -1) }),
  };
  if (event.key in actions && actions[event.key]() !== false) event.preventDefault();
}

function start() {
  readHash();
  let waiting = 0;
  document.getElementById("query").addEventListener("input", (event) => {
    clearTimeout(waiting);
    const searched = ["search", "pairs", "answers"].includes(page.tab) ? page.tab : "search";
    waiting = setTimeout(() => go({ query: event.target.value, tab: searched }), 80);
  });
  document.getElementById("run").addEventListener("change", (event) => go({ run: event.target.value }));
  document.getElementById("help-button").addEventListener("click", () => document.getElementById("help").showModal());
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => { readHash(); show(); });
  show().then(follow);
}

start();
