// Lists of records: pairs as they arrive, answers before and after, the search over all texts.
import { count, el, said, words } from "/dom.js";

const STEP = 50, COUNTED = 10000;
const MARKS = { right: "✓ right", wrong: "✗ wrong", partly: "~ partly right" };

// What all lists share: rows are asked for piece by piece, one of them is current, new ones are announced.
function list(panel, { title, filters, fetchRows, draw, after }) {
  const status = el("p", { class: "muted", role: "status" }), rows = el("div"), more = el("button", { type: "button", onclick: () => load() }, "More");
  const news = el("button", { type: "button", class: "pressed", hidden: true, onclick: () => restart() });
  let offset = 0, current = -1, asked = 0, shown = "";

  async function load(start = offset, limit = STEP) {
    const mine = ++asked;
    if (start === 0) status.textContent ||= "searching …";
    let found;
    try { found = await fetchRows(start, limit); } catch (error) { status.textContent = error.message; return; }
    if (mine !== asked) return;
    if (start === 0) { rows.replaceChildren(); current = -1; shown = JSON.stringify(found.rows); news.hidden = true; }
    rows.append(...found.rows.map(draw));
    offset = start + found.rows.length;
    more.hidden = offset >= found.total;
    status.textContent = found.total > COUNTED ? `more than ${count(COUNTED)} rows` : `${count(found.total)} ${found.total === 1 ? "row" : "rows"}`;
    after?.(found);
  }
  const restart = () => load(0);
  const select = (at) => {
    const all = [...rows.children];
    all[current]?.classList.remove("current");
    current = at;
    all[at]?.classList.add("current");
    all[at]?.scrollIntoView({ block: "nearest" });
  };
  return {
    draw: async () => { panel.replaceChildren(el("h1", {}, title), el("div", { class: "filters" }, filters(restart)), status, news, rows, el("p", { class: "center" }, more)); more.hidden = true; await restart(); },
    refresh: async () => {
      if (current < 0 && offset <= STEP && scrollY < 200) return restart();
      const found = await fetchRows(0, STEP);
      if (JSON.stringify(found.rows) !== shown) { news.textContent = "New rows have arrived: show them"; news.hidden = false; }
    },
    move: async (by) => {
      if (current + by >= rows.children.length && !more.hidden) await load();
      select(Math.max(0, Math.min(rows.children.length - 1, current + by)));
    },
    toggle: () => rows.children[current]?.dispatchEvent(new Event("toggle-row")),
  };
}

// A row that unfolds, by a click on its button or by the keyboard; a cut text is then asked for as a whole.
function row(head, parts, unfold) {
  const button = el("button", { type: "button", "aria-expanded": "false", onclick: () => made.dispatchEvent(new Event("toggle-row")) }, "open");
  const made = el("article", { class: "row" }, el("p", { class: "muted" }, head, el("span", { class: "fill" }), button), parts);
  made.addEventListener("toggle-row", async () => {
    const open = made.classList.toggle("unfolded");
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "close" : "open";
    if (open && unfold) { const whole = await unfold(); unfold = null; while (made.children.length > 1) made.lastChild.remove(); made.append(...whole); }
  });
  return made;
}

function choice(name, values, value, change) {
  const made = el("select", {}, values.map(([key, text]) => el("option", { value: key, selected: key === value }, text)));
  made.addEventListener("change", () => change(made.value));
  return el("label", {}, name, made);
}

const iterationsOf = (state) => [["", "all"], ...(state?.iterations ?? []).map((entry) => [String(entry.iteration), String(entry.iteration)])];
const openIteration = (state) => [...new Set((state?.open ?? []).map((each) => /^iteration-(\d+)\//.exec(each.name)?.[1]).filter(Boolean))].map((number) => [number, `${number}, running`]);
const number = (value) => value === null || value === undefined ? "" : Number(value).toLocaleString("en", { maximumFractionDigits: 3 });

function side(name, text, told, query, note = "") {
  const score = number(told.score);
  const facts = [told.by && `by ${told.by}`, `${count(told.tokens)} tokens`, told.finish === "length" ? "cut off" : told.finish, score && `score ${score}`, told.reason, note].filter(Boolean);
  return el("div", { class: name }, el("p", { class: "muted" }, el("strong", {}, name), ` · ${facts.join(" · ")}`), said(text, words(query)));
}

function pairParts(pair, query) {
  const sides = el("div", { class: "sides" }, side("chosen", pair.answer, pair.facts.chosen, query), side("rejected", pair.other, pair.facts.rejected, query));
  return [said(pair.prompt, words(query)), sides];
}

function pairHead(pair) {
  const facts = pair.facts, gap = facts.gap === null ? "no score needed" : `gap ${facts.gap > 0 ? "+" : ""}${number(facts.gap)}${facts.scorer ? ` by ${facts.scorer}` : ""}`;
  const keywords = facts.keywords.length ? `keywords: ${facts.keywords.join(", ")}` : "";
  return [el("code", {}, facts.id), `${pair.stage}`, gap, keywords].filter(Boolean).map((part) => el("span", {}, part));
}

function drawPair(pair, page, ask, head = []) {
  const whole = async () => pairParts(await ask("row", { id: pair.id }), page.query);
  return row([...head, ...pairHead(pair)], pairParts(pair, page.query), pair.cut ? whole : null);
}

export function pairsView(page, panel, { ask }) {
  let iteration = "", order = "";
  const choices = [["", "all"], ...iterationsOf(page.state).slice(1).filter(([n]) => n !== "0"), ...openIteration(page.state)];
  return list(panel, {
    title: "Pairs, chosen over rejected",
    filters: (again) => [
      choice("iteration", choices, iteration, (value) => { iteration = value; again(); }),
      choice("order", [["", "newest first"], ["gap", "widest score gap first"]], order, (value) => { order = value; again(); }),
      page.query ? el("span", {}, `with “${page.query}”`) : null,
    ],
    fetchRows: (offset, limit) => ask("rows", { run: page.run, kind: "pair", iteration, order, q: page.query, offset, limit }),
    draw: (pair) => drawPair(pair, page, ask),
  });
}

export function searchView(page, panel, { ask }) {
  let kind = "", scope = "run", iteration = "", stage = "";
  const stages = [["", "all"], ...(page.state?.stages ?? []).filter((each) => ["sample", "prefer", "finetune"].includes(each.verb)).map((each) => [each.name, each.name])];
  return list(panel, {
    title: page.query ? `“${page.query}” in prompts and answers` : "All prompts and answers",
    filters: (again) => [
      page.runs.length > 1 ? choice("in", [["run", "this run"], ["all", "all runs"]], scope, (value) => { scope = value; again(); }) : null,
      choice("what", [["", "all"], ["pair", "pairs"], ["answer", "sampled answers"], ["example", "training examples"]], kind, (value) => { kind = value; again(); }),
      choice("iteration", iterationsOf(page.state), iteration, (value) => { iteration = value; again(); }),
      choice("stage", stages, stage, (value) => { stage = value; again(); }),
    ],
    fetchRows: (offset, limit) => ask("rows", { run: scope === "all" ? "" : page.run, kind, iteration, stage, q: page.query, offset, limit }),
    draw: (found) => {
      const run = scope === "all" ? [el("span", {}, found.run)] : [];
      if (found.kind === "pair") return drawPair(found, page, ask, run);
      const parts = (whole) => [said(whole.prompt, words(page.query)), el("div", { class: "sides" }, side("answer", whole.answer, { ...whole.facts, score: whole.score }, page.query, whole.unscored))];
      const head = [...run, el("span", {}, found.stage), el("span", {}, `line ${found.place + 1}`), el("span", {}, `prompt from ${found.facts.source}`)];
      return row(head, parts(found), found.cut ? async () => parts(await ask("row", { id: found.id })) : null);
    },
  });
}

export function answersView(page, panel, { ask }) {
  const measured = page.state?.iterations ?? [];
  const numbers = measured.map((entry) => [String(entry.iteration), entry.iteration ? `iteration ${entry.iteration}` : "initial model"]);
  let before = "0", after = String(page.state?.policy || measured.at(-1)?.iteration || 0), outcome = "";
  const counts = el("span", { class: "filters" });
  const gold = el("span", { class: "muted" });
  let again = () => {};
  return list(panel, {
    title: "Held-out answers before and after",
    filters: (restart) => {
      again = restart;
      return [choice("before", numbers, before, (value) => { before = value; restart(); }), choice("after", numbers, after, (value) => { after = value; restart(); }), counts, gold];
    },
    fetchRows: (offset, limit) => ask("answers", { run: page.run, before, after, outcome, q: page.query, offset, limit }),
    after: (found) => {
      const all = Object.values(found.counts).reduce((sum, each) => sum + each, 0);
      const buttons = [["", `all ${count(all)}`], ...Object.entries(found.counts).map(([name, each]) => [name, `${count(each)} ${name}`])];
      counts.replaceChildren(...buttons.map(([name, text]) => el("button", { type: "button", class: name === outcome ? "pressed" : null, "aria-pressed": String(name === outcome), onclick: () => { outcome = name; again(); } }, text)));
      gold.textContent = found.gold ? "" : "Gold is shown if you give --gold FILE.";
    },
    draw: (found) => {
      const title = (at) => numbers.find(([key]) => key === at)?.[1] ?? at;
      const shown = [[found.sides[0], "before", title(before)], [found.sides[1], found.outcome === "better" ? "after gained" : found.outcome === "worse" ? "after lost" : "after", title(after)]];
      const sides = shown.map(([each, name, heading]) => el("div", { class: name }, el("p", { class: "muted" }, el("strong", {}, heading), ` · ${each.mean} on average`), each.answers.map((answer) => [said(answer.text, words(page.query)), remark(answer)])));
      if (found.gold !== null) sides.push(el("div", { class: "gold" }, el("p", { class: "muted" }, el("strong", {}, "gold")), said(found.gold, words(page.query))));
      return row([el("span", { class: `outcome ${found.outcome}` }, found.outcome), el("code", {}, found.prompt_id)], [said(found.prompt, words(page.query)), el("div", { class: "sides three" }, sides)]);
    },
  });
}

function remark(answer) {
  const facts = [answer.score === null || answer.score === undefined ? answer.unscored : `score ${number(answer.score)}`, answer.finish === "length" ? "cut off" : "", `${count(answer.tokens)} tokens`];
  return el("p", { class: "remark" }, answer.mark ? el("span", { class: `mark ${answer.mark}` }, MARKS[answer.mark]) : null, answer.mark ? " · " : "", facts.filter(Boolean).join(" · "));
}
