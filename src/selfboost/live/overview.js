// What a run has come to: the result, what it is doing, measures of all chosen runs, faults and alarms, the log.
import { COLOURS, chart } from "/charts.js";
import { count, el, table } from "/dom.js";

const MOST_OVERLAID = COLOURS.length;

export function overview(page, panel) {
  function draw() {
    const state = page.state;
    if (!state) return void panel.replaceChildren(el("h1", {}, "No run here yet"), el("p", { class: "muted" }, "A run that starts in this folder appears by itself."));
    panel.replaceChildren(...[
      el("h1", {}, (state.headline || "Nothing has been measured yet.").replaceAll(" %", "\u00a0%")),
      ...troubles(state),
      el("div", { id: "moving" }, moving(page)),
      facts(state),
      overlay(page, draw),
      charts(page),
      iterations(state),
      stages(state),
      faults(state),
    ].filter(Boolean));
  }
  return { draw, refresh: draw, pulse: () => document.getElementById("moving")?.replaceChildren(...moving(page)) };
}

function troubles(state) {
  const shown = [state.problem, state.error && `The run ${state.error}.`, ...state.unread ?? []].filter(Boolean);
  return [
    ...shown.map((text) => el("p", { class: "alarm" }, text)),
    ...(state.alarms ?? []).map((alarm) => el("p", { class: "alarm" }, `Iteration ${alarm.iteration}, alarm: ${alarm.text}.`)),
    ...(state.warnings ?? []).map((text) => el("p", { class: "warning" }, text)),
    ...(state.notes ?? []).filter((text) => !text.includes(", alarm: ")).map((text) => el("p", { class: "muted" }, text)),
  ];
}

// The stages that are being made, and the time left for the whole run.
function moving(page) {
  const now = page.pulse[page.run] ?? page.state ?? {};
  const parts = [];
  if (now.left) {
    parts.push(el("p", {}, el("strong", {}, `About ${now.left.time} left for the whole run`), ` ${now.left.basis}`), bar(now.left.share));
  } else if (page.state?.status === "running") {
    parts.push(el("p", { class: "muted" }, "Time left for the whole run: known once an iteration is complete."));
  }
  for (const stage of now.open ?? []) {
    const rows = stage.total === null ? `${count(stage.rows)} rows` : `${count(stage.rows)} of ${count(stage.total)} rows`;
    const left = stage.left === null ? "" : `, about ${stage.left} left`;
    const share = stage.total ? stage.rows / stage.total : null;
    parts.push(el("div", { class: "open-stage" }, el("p", {}, el("strong", {}, stage.name), el("span", { class: "muted" }, `${rows}, ${stage.time}${left}`)), bar(share)));
  }
  return parts;
}

function bar(share) {
  const known = share !== null && share <= 1;
  const inner = el("div");
  if (known) inner.style.width = `${100 * share}%`;
  const value = known ? { "aria-valuenow": Math.round(100 * share) } : {};
  return el("div", { class: known ? "progress" : "progress unknown", role: "progressbar", "aria-label": "progress", "aria-valuemin": 0, "aria-valuemax": 100, ...value }, inner);
}

function facts(state) {
  if (!state.measures) return null;
  const shown = {
    method: state.method || "?", "initial model": state.model || "?", time: state.time, "peak memory": state.memory,
    tokens: count(state.tokens), "finished stages": count(state.stages.length), "texts indexed": count(state.rows),
  };
  return el("dl", { class: "facts" }, Object.entries(shown).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function overlay(page, draw) {
  if (page.runs.length < 2) return null;
  const chosen = page.runs.map((run) => {
    const box = el("input", { type: "checkbox", checked: page.overlaid.has(run.name), disabled: run.name === page.run });
    box.addEventListener("change", async () => {
      if (box.checked && page.overlaid.size >= MOST_OVERLAID) return void (box.checked = false);
      page.overlaid[box.checked ? "add" : "delete"](run.name);
      if (box.checked && !page.states.has(run.name)) {
        const reply = await fetch(`/api/run?${new URLSearchParams({ run: run.name })}`);
        page.states.set(run.name, await reply.json());
      }
      draw();
    });
    return el("label", {}, box, ` ${run.name}`, run.verdict ? el("span", { class: run.verdict }, ` ${run.verdict}`) : null);
  });
  return el("fieldset", { class: "overlay" }, el("legend", {}, `Runs in the charts, at most ${MOST_OVERLAID}`), chosen);
}

function charts(page) {
  const names = [page.run, ...[...page.overlaid].filter((name) => name !== page.run)];
  const runs = names.map((name) => page.states.get(name)).filter((state) => state?.measures);
  const measures = new Map(runs.flatMap((state) => state.measures.map((measure) => [measure.name, measure])));
  if (!measures.size) return null;
  const figures = [...measures.values()].map((measure) => {
    const lines = runs.map((state, at) => ({ name: state.name, colour: COLOURS[at], points: points(state, measure.name) }));
    return chart(measure.title + (measure.decides ? "; decides" : ""), lines.filter((line) => line.points.length), measure.share);
  });
  const legend = "Bars are 95 % intervals over prompts; a hollow point is a candidate that did not become the policy.";
  return el("section", { id: "measures" }, el("h2", {}, "Held-out measures by iteration"), el("div", { class: "grid" }, figures), el("p", { class: "muted" }, legend));
}

function points(state, name) {
  return state.iterations
    .map((entry) => ({ entry, row: entry.measures[name] }))
    .filter(({ row }) => row && row.value !== null)
    .map(({ entry, row }) => ({
      iteration: entry.iteration, value: row.value, low: row.low, high: row.high,
      text: `${row.text} ${row.interval}`.trim(), hollow: !["initial", "promoted"].includes(entry.decision),
    }));
}

function iterations(state) {
  if (!state.iterations?.length) return null;
  const headings = ["iteration", "decision", "pairs", "time", ...state.measures.map((measure) => measure.title)];
  const cells = (entry) => state.measures.map(({ name }) => {
    const row = entry.measures[name];
    return row ? [el("span", { class: row.verdict || null }, row.text), " ", el("small", {}, row.interval)] : "";
  });
  const rows = state.iterations.map((entry) => [String(entry.iteration), entry.decision, count(entry.pairs), entry.time, ...cells(entry)]);
  rows.push(...state.beside.map((model) => [model.name, "beside", "", "", ...cells(model)]));
  const reasons = state.iterations.slice(1).map((entry) => el("li", {}, el("strong", {}, `${entry.iteration} ${entry.decision}`), `: ${entry.why}`));
  const numeric = headings.map((_, at) => at).filter((at) => at > 1);
  return el("section", {}, el("h2", {}, "Iterations and decisions"), table(headings, rows, numeric), el("ul", { class: "plain" }, reasons));
}

function stages(state) {
  if (!state.stages?.length) return null;
  const rows = [...state.stages].reverse().map((stage) => [stage.name, stage.verb, count(stage.rows), stage.tokens ? count(stage.tokens) : "", stage.time]);
  const title = `${count(rows.length)} finished stages, the newest first`;
  return el("section", {}, el("h2", {}, "Stages"), el("details", {}, el("summary", {}, title), table(["stage", "verb", "rows", "tokens", "time"], rows, [2, 3, 4])));
}

function faults(state) {
  if (!state.faults?.length) return null;
  return el("section", {}, el("h2", {}, "Faults counted"), table(["stage", "what", "rows"], state.faults, [2]));
}

export function logView(page, panel) {
  function draw() {
    const entries = [...(page.state?.log ?? [])].reverse();
    const items = entries.map((entry) => el("li", { class: entry.kind }, el("time", {}, entry.at ? new Date(1000 * entry.at).toLocaleString("sv-SE") : ""), el("span", {}, entry.title), el("span", {}, entry.text)));
    const nothing = el("p", { class: "muted" }, "No stage is finished yet.");
    panel.replaceChildren(el("h1", {}, "Log, the newest first"), items.length ? el("ul", { class: "log" }, items) : nothing);
  }
  return { draw, refresh: draw };
}

export function recipeView(page, panel) {
  function draw() {
    const rows = flat(page.state?.recipe ?? {});
    const shown = rows.length ? table(["setting", "value"], rows) : el("p", { class: "muted" }, "There is no recipe.toml in this folder.");
    panel.replaceChildren(el("h1", {}, "Recipe"), shown);
  }
  return { draw, refresh: () => {} };
}

function flat(value, prefix = "") {
  return Object.entries(value).flatMap(([name, each]) => each && typeof each === "object" && !Array.isArray(each) ? flat(each, `${prefix}${name}.`) : [[el("code", {}, prefix + name), el("code", {}, typeof each === "string" ? each : JSON.stringify(each))]]);
}
