// Sparklines: a curve over time, without axes; the words beside it and its label say the numbers.

import { shape } from "./parts.js";

const WIDTH = 200;
const HEIGHT = 40;
const BRIDGED = 10; // places without a value that a curve goes over: at a low rate most seconds have none

/**
 * Draw values over time, oldest first; null stands for none. `span` places fit in; newer ones stand right.
 * `limit` is a value to compare with, drawn as a dashed line; `top` fixes the scale.
 */
export function spark(values, { label, span, limit, top, small = false }) {
  const seen = values.filter((value) => value !== null);
  const highest = top ?? Math.max(...seen, limit !== undefined && seen.length ? limit : 0, 1e-9) * 1.08;
  const step = WIDTH / (span - 1);
  const start = WIDTH - (values.length - 1) * step;
  const x = (place) => (start + place * step).toFixed(1);
  const y = (value) => (HEIGHT - (Math.min(value, highest) / highest) * HEIGHT).toFixed(1);
  const picture = shape("svg", {
    class: small ? "spark small" : "spark",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": label,
  });
  picture.append(shape("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}` }));
  for (const run of runs(values)) {
    const points = run.map((place) => `${x(place)} ${y(values[place])}`);
    if (points.length === 1) points.push(`${(Number(x(run[0])) + 0.8).toFixed(1)} ${y(values[run[0]])}`);
    const line = `M${points.join("L")}`;
    picture.append(shape("path", { class: "area", d: `${line}L${x(run.at(-1))} ${HEIGHT}L${x(run[0])} ${HEIGHT}Z` }));
    picture.append(shape("path", { class: "curve", d: line }));
  }
  if (limit !== undefined && limit <= highest) {
    picture.append(shape("path", { class: "limit", d: `M0 ${y(limit)}H${WIDTH}` }));
  }
  return picture;
}

/** The places of values, cut at long gaps. */
function runs(values) {
  const found = [];
  values.forEach((value, place) => {
    if (value === null) return;
    const before = found.at(-1)?.at(-1);
    if (before !== undefined && place - before <= BRIDGED) found.at(-1).push(place);
    else found.push([place]);
  });
  return found;
}
