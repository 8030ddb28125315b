// The live page: takes a snapshot a second from /events and shows it.

import { age, byId, clock, count, draw, duration, el, nothing, number, shape, share, table } from "./parts.js";
import { spark } from "./charts.js";
import { gpus } from "./gpus.js";
import { adapt } from "./adapt.js";

const SPAN = 120; // seconds that a sparkline shows
const RECENT = 30; // seconds over which batches and stages are averaged
const AGAIN = 3000; // milliseconds until a page that was refused asks again
const TINTS = 6;
const STATES = { ready: "good", starting: "fair", loading: "fair", loaded: "fair", draining: "fair" };

const KINDS = { wait: "queue", lease: "GPU lease" };

const history = { pid: 0, uptime: 0, seconds: new Map(), samples: [], picture: "" };

connect();

function connect() {
  const source = new EventSource("events");
  source.onmessage = (event) => {
    trouble("");
    show(JSON.parse(event.data));
  };
  source.onerror = () => {
    trouble("No word from the app since a moment ago; trying again.");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN); // a browser gives up where it is refused
  };
}

function trouble(text) {
  byId("trouble").hidden = text === "";
  if (byId("trouble").textContent !== text) byId("trouble").textContent = text;
  document.body.toggleAttribute("data-stale", text !== "");
}

function show(now) {
  remember(now);
  const tints = new Map(now.groups.map((group, place) => [group.name, `tint-${place % TINTS}`]));
  const homes = new Map(now.groups.flatMap((group) => group.stages.map((stage) => [stage, group.name])));
  const recent = { groups: since(now, "groups"), stages: since(now, "stages") };
  heading(now);
  tiles(now);
  dag(now, recent);
  adapt(now);
  functions(now, tints, recent.groups);
  gpus(now, earlier(now), tints);
  stages(now, tints, homes, recent.stages);
  transitions(now);
  misses(now, new Map([...homes].map(([stage, home]) => [stage, tints.get(home)])));
}

/** Keep what sparklines and averages need, and no more; of a front that was started anew, nothing of the one before. */
function remember(now) {
  if (now.pid !== history.pid || now.uptime < history.uptime) { // in a container every front is process 1
    history.seconds.clear();
    history.samples = [];
  }
  history.pid = now.pid;
  history.uptime = now.uptime;
  for (const second of now.seconds) history.seconds.set(second.start, second);
  for (const start of history.seconds.keys()) {
    if (start < now.now - SPAN) history.seconds.delete(start);
  }
  history.samples.push({ now: now.now, totals: now.totals, groups: now.groups, in_flight: now.in_flight, gpus: now.gpus });
  history.samples = history.samples.filter((sample) => sample.now >= now.now - SPAN && sample.now <= now.now);
}

/** The snapshot that "the last half minute" counts from. */
const earlier = (now) => history.samples.find((sample) => sample.now >= now.now - RECENT);

/** What groups or stages have done in the last half minute, by name; a front that began anew counts from 0. */
function since(now, kind) {
  const base = earlier(now);
  const found = new Map();
  for (const [name, total] of Object.entries(now.totals[kind])) {
    const before = base.now < now.now ? base.totals[kind][name] : undefined;
    const fields = Object.entries(total).map(([key, value]) => [key, value - (before ? before[key] : 0)]);
    const over = base.now < now.now ? now.now - base.now : Math.max(now.uptime, 1);
    found.set(name, { ...Object.fromEntries(fields), over });
  }
  return found;
}

function heading(now) {
  const about = [`up ${age(now.uptime)}`, `pid ${now.pid}`];
  if (now.slo) about.unshift(`${number(now.slo.attainment * 100)} % within ${duration(now.slo.latency)}`);
  document.title = `${now.app} · Regrain`;
  byId("app").textContent = now.app;
  byId("about").textContent = about.join("  ·  ");
  byId("grain").textContent = now.grain;
  byId("foot").textContent = `Regrain ${now.version}`;
  const state = byId("state");
  if (state.textContent !== now.state) state.textContent = now.state; // read out on a change alone
  state.className = `state ${STATES[now.state] ?? "bad"}`;
}

function tiles(now) {
  const seconds = line((second) => second.requests);
  const judged = (second) => (second.hits + second.misses ? second.hits / (second.hits + second.misses) : null);
  const queued = now.groups.reduce((sum, group) => sum + group.queue, 0);
  const limit = now.slo?.latency;
  const met = !now.slo || now.load.hit_rate === null || now.load.hit_rate >= now.slo.attainment;
  const late = (value) => (limit !== undefined && value !== null && value > limit ? "bad" : "");
  const latency = (name) =>
    tile(name, duration(now.load[name]), limit ? `objective ${duration(limit)}` : "latency", late(now.load[name]),
      spark(line((second) => second[name]), { label: `${name} over two minutes, now ${duration(now.load[name])}`, span: SPAN, limit }));
  byId("tiles").replaceChildren(
    tile("Rate", `${number(now.load.rate)} /s`, `${count(now.load.requests, "request")} in 30 s`, "",
      spark(seconds, { label: `requests per second over two minutes, now ${number(now.load.rate)}`, span: SPAN })),
    latency("p50"),
    latency("p95"),
    latency("p99"),
    tile("Hit rate", share(now.load.hit_rate), now.slo ? `wanted ${share(now.slo.attainment)}` : "of all requests", met ? "good" : "bad",
      spark(line(judged), { label: `hit rate over two minutes, now ${share(now.load.hit_rate)}`, span: SPAN, limit: now.slo?.attainment, top: 1.05 })),
    tile("In flight", String(now.in_flight), `${queued} waiting in queues`, "",
      spark(samples((sample) => sample.in_flight), { label: `requests in flight over two minutes, now ${now.in_flight}`, span: SPAN })),
  );
}

function tile(name, value, note, mark, picture) {
  return el("div", { class: "tile", "data-tile": name },
    el("h2", {}, name), el("div", { class: `value ${mark}` }, value), el("div", { class: "note" }, note), picture);
}

/** One value per whole second, oldest first. */
function line(of) {
  const starts = [...history.seconds.keys()].sort((one, other) => one - other);
  return starts.map((start) => of(history.seconds.get(start)));
}

/** One value per snapshot, oldest first. */
const samples = (of) => history.samples.slice(-SPAN).map(of);

async function dag(now, recent) {
  const key = JSON.stringify([now.app, now.grain, now.pid, now.groups.map((group) => [group.stages, group.max_size])]);
  if (history.picture !== key) {
    history.picture = key;
    const answer = await fetch("picture.svg");
    if (!answer.ok) return void (history.picture = "");
    const drawn = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
    byId("dag").replaceChildren(document.importNode(drawn, true));
  }
  for (const group of now.groups) markGroup(group);
  for (const [name, done] of recent.stages) markStage(name, done);
}

/** Say in the drawing how many replicas a group has, and how many units wait for it. */
function markGroup(group) {
  const node = document.querySelector(`#dag [data-group="${CSS.escape(group.name)}"]`);
  if (!node) return;
  const own = group.replicas.filter((replica) => !replica.guest);
  const ready = own.filter((replica) => replica.state === "ready").length;
  const all = own.length;
  node.querySelectorAll("text")[1].textContent = ready === all ? count(all, "replica") : `${ready} of ${all} ready`;
  node.querySelector(".waiting")?.remove();
  if (!group.queue) return;
  const box = node.querySelector("rect");
  const text = `${group.queue} waiting`;
  const width = text.length * 6.4 + 14;
  const middle = Number(box.getAttribute("x")) + Number(box.getAttribute("width")) / 2;
  const top = Number(box.getAttribute("y"));
  node.append(shape("g", { class: "waiting" },
    shape("rect", { x: middle - width / 2, y: top - 9, width, height: 18, rx: 9 }),
    shape("text", { x: middle, y: top + 4 }, text)));
}

/** Say in the drawing what a run of a stage takes, in place of what the stage needs. */
function markStage(name, done) {
  const node = document.querySelector(`#dag [data-stage="${CSS.escape(name)}"]`);
  if (!node || !done.runs) return;
  node.querySelectorAll("text")[1].textContent = duration(done.seconds / done.runs);
}

function functions(now, tints, recent) {
  const columns = [
    { title: "Group" }, { title: "Replicas" }, { title: "Waiting", number: true }, { title: "over two minutes" },
    { title: "Batch size", number: true }, { title: "at most", number: true }, { title: "Dispatches", number: true },
    { title: "Wait in queue", number: true },
  ];
  const rows = now.groups.map((group, place) => {
    const done = together(group, recent);
    const queue = samples((sample) => sample.groups.find((other) => other.name === group.name)?.queue ?? null);
    return [
      el("span", {}, el("span", { class: `swatch ${tints.get(group.name)}` }), group.stages.join(" + ")),
      el("span", {}, ...group.replicas.map(replica), group.replicas.length ? "" : "none"),
      String(group.queue),
      spark(queue, { label: `waiting over two minutes, now ${group.queue}`, span: SPAN, small: true }),
      done.batches ? number(done.units / done.batches) : "–",
      String(group.max_size),
      done.batches ? `${number(done.batches / done.over)} /s` : "–",
      done.batches ? duration(done.waited / done.batches) : "–",
    ];
  });
  byId("functions").replaceChildren(table(columns, rows));
}

/** What a group has done in the last half minute: of a fluid one all of its stages, each of which has a queue. */
function together(group, recent) {
  const queues = group.lanes?.length ? group.lanes.map((lane) => lane.stage) : [group.name];
  const parts = queues.flatMap((name) => recent.get(name) ?? []);
  const sum = (key) => parts.reduce((total, part) => total + part[key], 0);
  return { batches: sum("batches"), units: sum("units"), waited: sum("waited"), over: parts[0]?.over };
}

const replica = (one) =>
  el(
    "span",
    { class: `replica ${STATES[one.state] ?? "bad"}`, title: `process ${one.pid}: ${one.resident.join(", ")}` },
    one.guest ? "stands in" : one.state,
    el("small", {}, String(one.pid)),
  );

function stages(now, tints, homes, recent) {
  const busy = [...recent.values()].reduce((sum, done) => sum + done.seconds, 0);
  const columns = [
    { title: "Stage" }, { title: "Runs", number: true }, { title: "Items a run", number: true },
    { title: "Time a run", number: true }, { title: "Share of time", grow: true },
  ];
  const rows = [...homes].map(([stage, home]) => {
    const done = recent.get(stage);
    const part = busy && done ? done.seconds / busy : 0;
    const bar = el("i", { class: tints.get(home) });
    bar.style.width = `${part * 100}%`;
    return [
      el("span", {}, el("span", { class: `swatch ${tints.get(home)}` }), stage),
      done?.runs ? `${number(done.runs / done.over)} /s` : "–",
      done?.runs ? number(done.items / done.runs) : "–",
      done?.runs ? duration(done.seconds / done.runs) : "–",
      el("span", { class: "share", role: "img", "aria-label": share(part), title: share(part) }, bar),
    ];
  });
  byId("stages").replaceChildren(table(columns, rows));
}

function transitions(now) {
  draw("transitions", now.transitions ?? [], () => {
    const latest = [...(now.transitions ?? [])].sort((one, other) => other.at - one.at).slice(0, 10);
    if (!latest.length) return nothing("None yet: the grain is the one that the app started with.");
    const rows = latest.map((one) => {
      const [from, to] = ends(one);
      return [
        clock(one.at),
        one.by || "–",
        el("span", { class: one.state === "failed" ? "bad" : "" }, one.state),
        el("span", {}, el("code", {}, from), el("span", { class: "arrow" }, " → "), el("code", {}, to),
          one.detail ? el("div", { class: "parts" }, one.detail) : ""),
      ];
    });
    return table([{ title: "At" }, { title: "By" }, { title: "State" }, { title: "From → to", grow: true }], rows);
  });
}

/** From where to where, "GRAIN (VERSION)" each; a version that stays is left out. */
function ends(change) {
  const version = / \([^)]*\)$/;
  const [from, to] = [change.from, change.to].map((text) => text.match(version)?.[0]);
  return from === to ? [change.from.replace(version, ""), change.to.replace(version, "")] : [change.from, change.to];
}

/** `tints` are by stage: a miss may be from before the grain changed. */
function misses(now, tints) {
  draw("misses", [now.misses.map((miss) => miss.call_id + miss.seconds), [...tints]], () => {
    if (!now.misses.length) return nothing("None: every answer was correct and in time.");
    const scale = Math.max(now.slo?.latency ?? 0, ...now.misses.map((miss) => miss.seconds)) * 1.02;
    const rows = now.misses.map((miss) => [
      clock(miss.at),
      el("code", {}, miss.call_id),
      el("span", { class: "bad" }, `${miss.reason} (${miss.status})`),
      duration(miss.seconds),
      breakdown(miss, tints, scale),
    ]);
    return table(
      [{ title: "At" }, { title: "Call id" }, { title: "Reason" }, { title: "Took", number: true }, { title: "Where", grow: true }],
      rows,
    );
  });
}

/**
 * A bar whose parts are what queues, hops and stages took, summed up by stage, and the same in words.
 * `scale` is the seconds that the whole width stands for; a mark stands at the objective.
 */
function breakdown(miss, tints, scale) {
  const parts = new Map();
  for (const span of miss.spans) {
    const name = span.kind === "service" ? span.stage : (KINDS[span.kind] ?? span.kind);
    const look = span.kind === "service" ? (tints.get(span.stage) ?? "rest") : span.kind;
    const part = parts.get(name) ?? { name, look, seconds: 0 };
    part.seconds += span.seconds;
    parts.set(name, part);
  }
  const known = [...parts.values()].reduce((sum, part) => sum + part.seconds, 0);
  if (miss.seconds > known * 1.02) parts.set("other", { name: "other", look: "rest", seconds: miss.seconds - known });
  const shown = [...parts.values()];
  const bar = el("div", { class: "bar", "aria-hidden": "true" });
  for (const part of shown) {
    const piece = el("i", { class: part.look, title: `${part.name}: ${duration(part.seconds)}` });
    const width = known > miss.seconds ? (part.seconds / known) * miss.seconds : part.seconds; // some ran side by side
    piece.style.width = `${(width / scale) * 100}%`;
    bar.append(piece);
  }
  if (miss.slo !== null) {
    const mark = el("b", { title: `objective: ${duration(miss.slo)}` });
    mark.style.left = `${(miss.slo / scale) * 100}%`;
    bar.append(mark);
  }
  const words = shown.map((part) => `${part.name} ${duration(part.seconds)}`).join("  ·  ");
  return el("div", {}, bar, el("div", { class: "parts" }, words || "it reached no stage"));
}
