// Elements, and quantities as a reader wants them. Text goes in as text nodes only, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Make an element; `attributes` are set as such, children are elements or text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== "") element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

const shown = new Map();

/** Draw into an element, unless what it is drawn from is as it was: a selection or a focus in it then stays. */
export function draw(id, source, make) {
  const key = JSON.stringify(source);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  byId(id).replaceChildren(...[make()].flat());
}

/** A table; a column is {title, number, grow}, a row a list of cells. */
export function table(columns, rows) {
  const kind = (column) => (column.number ? "number" : column.grow ? "grow" : "");
  const head = columns.map((column) => el("th", { scope: "col", class: kind(column) }, column.title));
  const body = rows.map((cells) =>
    el("tr", {}, ...cells.map((cell, place) => el("td", { class: kind(columns[place]) }, cell))),
  );
  return el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
}

export const nothing = (text) => el("p", { class: "empty" }, text);

const brief = (value) => (value < 10 ? value.toFixed(1).replace(".0", "") : value.toFixed(0));

/** "830 µs", "4.2 ms", "310 ms" or "1.25 s"; "–" where there is none. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds > 0 && seconds < 1e-3) return `${brief(seconds * 1e6)} µs`;
  if (seconds > 0 && seconds < 1) return `${brief(seconds * 1e3)} ms`;
  return seconds < 100 ? `${Number(seconds.toPrecision(3))} s` : `${seconds.toFixed(0)} s`;
}

/** How long since: "42 s", "3 min", "25 h", "4 d". */
export function age(seconds) {
  for (const [limit, factor, unit] of [[120, 1, "s"], [7200, 60, "min"], [172800, 3600, "h"]]) {
    if (seconds < limit) return `${(Math.max(seconds, 0) / factor).toFixed(0)} ${unit}`;
  }
  return `${(seconds / 86400).toFixed(0)} d`;
}

export const share = (value) => (value === null || value === undefined ? "–" : `${(value * 100).toFixed(1)} %`);

/** "512 MiB" or "2.5 GiB". */
export const bytes = (value) => (value < 2 ** 30 ? `${brief(value / 2 ** 20)} MiB` : `${brief(value / 2 ** 30)} GiB`);

export const number = (value) => (value >= 100 ? value.toFixed(0) : brief(value));

export const count = (amount, noun) => `${amount} ${noun}${amount === 1 ? "" : "s"}`;

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
