// Adaptive granularity: which plan ruled when, what was expected of it and what came of it, and why it rules now.

import { age, byId, clock, el, nothing, number, shape, share, table } from "./parts.js";
import { spark } from "./charts.js";

const WIDTH = 600;
const HEIGHT = 22;
const TINTS = 6;

let known = -1;

/** Show what was decided, once there is something new of it. */
export async function adapt(now) {
  byId("adapt-card").hidden = !now.adapting;
  const trouble = now.adapting?.trouble ?? "";
  byId("adapt-trouble").hidden = trouble === "";
  byId("adapt-trouble").textContent = trouble;
  if (!now.adapting || now.adapting.number === known) return;
  known = now.adapting.number;
  const answer = await fetch("why");
  if (!answer.ok) return void (known = -1);
  const why = await answer.json();
  byId("adapt").replaceChildren(...(why.decision ? told(why, now) : [nothing("Nothing was decided yet: something has to be known of every stage first.")]));
}

function told(why, now) {
  const course = why.course;
  const tints = new Map([...new Set(course.map((point) => point.grain))].map((grain, place) => [grain, `tint-${place % TINTS}`]));
  return [
    el("p", { class: "reason" }, el("code", {}, (why.decision.plan ? course.at(-1) : why.decision.present).grain), ` rules: ${why.decision.sentence}.`),
    strip(course, tints),
    el("div", { class: "tiles" },
      curve("Hit rate predicted", course, (point) => point.predicted, share, { top: 1.05, limit: now.slo?.attainment }),
      curve("Hit rate measured", course, (point) => point.measured, share, { top: 1.05, limit: now.slo?.attainment }),
      curve("Dollars per 1,000", course, (point) => point.per_thousand, (value) => (value === null ? "–" : `$${value.toPrecision(2)}`)),
      curve("Rate expected", course, (point) => point.rate, (value) => (value === null ? "–" : `${number(value)} /s`))),
    el("div", { class: "scroll" }, groups(course)),
    el("ul", { class: "needs" }, ...why.needs.map((need) => el("li", {}, need))),
  ];
}

/** Which grain ruled when: a strip of time, and what its colours are. */
function strip(course, tints) {
  const begin = course[0].at;
  const over = Math.max(course.at(-1).at - begin, 1);
  const picture = shape("svg", {
    class: "strip", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `grain over the last ${age(over)}, now ${course.at(-1).grain}`,
  });
  course.forEach((point, place) => {
    const end = course[place + 1]?.at ?? course.at(-1).at;
    const x = ((point.at - begin) / over) * WIDTH;
    const width = Math.max(((end - point.at) / over) * WIDTH, 1);
    picture.append(shape("rect", { class: tints.get(point.grain), x: x.toFixed(1), y: 0, width: width.toFixed(1), height: HEIGHT },
      shape("title", {}, `${clock(point.at)} ${point.grain}`)));
  });
  const names = [...tints].map(([grain, tint]) => el("span", { class: "named" }, el("span", { class: `swatch ${tint}` }), el("code", {}, grain)));
  return el("div", {}, picture, el("div", { class: "note" }, ...names, el("span", { class: "named" }, `over ${age(over)}`)));
}

function curve(name, course, of, words, look = {}) {
  const values = course.map(of);
  const last = values.at(-1) ?? null;
  return el("div", { class: "tile", "data-tile": name },
    el("h2", {}, name), el("div", { class: "value" }, words(last)),
    spark(values, { label: `${name} at each decision, now ${words(last)}`, span: Math.max(course.length, 2), ...look }));
}

/** What the groups of now are given, and how that went. */
function groups(course) {
  const span = Math.max(course.length, 2);
  const line = (name, of) =>
    spark(course.map((point) => { const group = point.groups.find((one) => one.name === name); return group ? of(group) : null; }),
      { label: `${name} at each decision`, span, small: true });
  const rows = course.at(-1).groups.map((group) => [
    group.name,
    String(group.replicas), line(group.name, (one) => one.replicas),
    String(group.max_size), line(group.name, (one) => one.max_size),
    group.gpu ? share(group.gpu) : `${number(group.cpu)} cores`, line(group.name, (one) => one.gpu || one.cpu),
  ]);
  return table([
    { title: "Group" }, { title: "Replicas", number: true }, { title: "" }, { title: "Batch at most", number: true }, { title: "" },
    { title: "Share", number: true }, { title: "" },
  ], rows);
}
