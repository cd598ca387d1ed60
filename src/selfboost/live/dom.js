// Elements made from data: texts are text nodes, never markup, and an attribute is set only by our own names.

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  fill(made, attributes, children);
  return made;
}

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(made, attributes, children);
  return made;
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== "") made.append(child);
  }
}

// A person's or a model's text; what was searched for is marked.
export function said(text, words = []) {
  return el("div", { class: text ? "said" : "said nothing", dir: "auto" }, text ? marked(text, words) : "(nothing)");
}

function marked(text, words) {
  if (!words.length) return text;
  const found = new RegExp(words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "giu");
  const parts = [];
  let end = 0;
  for (const hit of text.matchAll(found)) {
    if (!hit[0] || (hit.index && /[\p{L}\p{N}]/u.test(text[hit.index - 1]))) continue;
    parts.push(text.slice(end, hit.index), el("mark", {}, hit[0]));
    end = hit.index + hit[0].length;
  }
  return [...parts, text.slice(end)];
}

export function words(query) {
  return [...query.matchAll(/"([^"]+)"|([^\s"]+)/g)].map((hit) => hit[1] ?? hit[2]).filter((word) => /[\p{L}\p{N}]/u.test(word));
}

export function table(headings, rows, numeric = []) {
  const side = (at) => ({ class: numeric.includes(at) ? "number" : null });
  const head = el("tr", {}, headings.map((text, at) => el("th", { scope: "col", ...side(at) }, text)));
  const body = rows.map((row) => el("tr", {}, row.map((cell, at) => el("td", side(at), cell))));
  return el("div", { class: "scroll", tabindex: 0 }, el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
}

export const count = (value) => value.toLocaleString("en");
