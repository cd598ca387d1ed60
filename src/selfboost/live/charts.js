// A measure by iteration, one line for each run, with 95 % intervals as bars.
import { el, svg } from "/dom.js";

export const COLOURS = ["a", "b", "d", "c", "e", "f"];
const WIDTH = 480, HEIGHT = 230, LEFT = 56, RIGHT = 12, TOP = 12, BOTTOM = 34;

// `lines`: {name, colour, points: [{iteration, value, low, high, hollow, text}]}
export function chart(title, lines, share) {
  const points = lines.flatMap((line) => line.points);
  if (!points.length) return el("figure", {}, el("figcaption", {}, title), el("p", { class: "muted" }, "no value yet"));
  const ends = points.flatMap((point) => [point.value, point.low ?? point.value, point.high ?? point.value]);
  const [low, high] = padded(Math.min(...ends), Math.max(...ends), share);
  const last = Math.max(1, ...points.map((point) => point.iteration));
  const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (value / last);
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ((value - low) / (high - low));
  const drawn = [...axes(low, high, last, x, y, share), ...lines.flatMap((line, at) => drawnLine(line, at, lines.length, x, y))];
  const told = lines.map((line) => `${line.name}: ${line.points.map((p) => `iteration ${p.iteration} ${p.text}`).join(", ")}`).join("; ");
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}. ${told}` }, drawn);
  const keys = lines.map((line) => el("span", {}, el("span", { class: `key ${line.colour}` }), line.name));
  return el("figure", {}, el("figcaption", {}, title), picture, lines.length > 1 ? el("p", { class: "legend" }, keys) : null);
}

function padded(low, high, share) {
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  return share ? [Math.max(0, low - room), Math.min(1, high + room) || 1] : [low - room, high + room];
}

function axes(low, high, last, x, y, share) {
  const step = nice((high - low) / 4);
  const parts = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) {
    const digits = Math.max(0, -Math.floor(Math.log10(share ? step * 100 : step)));
    const text = share ? `${(100 * value).toFixed(digits)} %` : value.toFixed(digits);
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  const every = Math.ceil(last / 12);
  for (let at = 0; at <= last; at += every) {
    parts.push(svg("text", { x: x(at), y: HEIGHT - 18, "text-anchor": at === last ? "end" : "middle" }, String(at)));
  }
  parts.push(svg("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "iteration"));
  return parts;
}

function nice(step) {
  const unit = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].map((times) => times * unit).find((each) => each >= step) ?? step;
}

function drawnLine(line, at, lines, x, y) {
  const beside = (at - (lines - 1) / 2) * 5; // several runs' bars stand beside each other
  const place = (point) => x(point.iteration) + beside;
  const path = line.points.map((point) => `${place(point)},${y(point.value)}`).join(" ");
  const parts = [svg("polyline", { class: `line ${line.colour}`, points: path })];
  for (const point of line.points) {
    if (point.low !== null && point.high !== null) {
      parts.push(svg("line", { class: `line thin ${line.colour}`, x1: place(point), x2: place(point), y1: y(point.low), y2: y(point.high) }));
    }
    const dot = { class: `${point.hollow ? "hollow" : "dot"} ${line.colour}`, cx: place(point), cy: y(point.value), r: 4.5 };
    parts.push(svg("circle", dot, svg("title", {}, `${line.name}, iteration ${point.iteration}: ${point.text}`)));
  }
  return parts;
}
