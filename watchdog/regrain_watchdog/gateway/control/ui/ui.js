// The gateway's page: asks every two seconds how its functions do, and shows it.

import { age, byId, bytes, count, draw, el, nothing, table } from "./parts.js";

const EVERY = 2000; // milliseconds
const STATES = { ready: "good", starting: "fair", draining: "fair", failed: "bad" };
const COLUMNS = [
  { title: "Function" },
  { title: "Namespace" },
  { title: "Image" },
  { title: "State" },
  { title: "Replicas", number: true },
  { title: "Invocations", number: true },
  { title: "CPU", number: true },
  { title: "Memory", number: true },
  { title: "Deployed", number: true },
];

look();

async function look() {
  try {
    const answer = await fetch("/ui/functions");
    if (!answer.ok) throw new Error(await answer.text());
    show(await answer.json());
    trouble("");
  } catch (error) {
    trouble(`No word from the gateway: ${error.message}; trying again.`);
  }
  setTimeout(look, EVERY);
}

function trouble(text) {
  byId("trouble").hidden = text === "";
  if (byId("trouble").textContent !== text) byId("trouble").textContent = text;
}

function show(functions) {
  const failed = functions.filter((one) => one.state === "failed").length;
  byId("state").textContent = failed ? `${failed} failed` : "up";
  byId("state").className = `state ${failed ? "bad" : "good"}`;
  byId("about").textContent = count(functions.length, "function");
  const rows = functions.map((one) => [
    el("a", { href: `/function/${one.name}.${one.namespace}` }, one.name),
    one.namespace,
    one.image,
    state(one),
    `${one.availableReplicas ?? 0} of ${one.replicas ?? 0}`,
    `${one.invocationCount ?? 0}`,
    one.usage ? `${Math.round(one.usage.cpu ?? 0)} m` : "–",
    one.usage ? bytes(one.usage.totalMemoryBytes ?? 0) : "–",
    age((Date.now() - Date.parse(one.createdAt)) / 1000),
  ]);
  draw("functions", rows.map((row) => row.map((cell) => cell.textContent ?? cell)), () =>
    rows.length ? table(COLUMNS, rows) : nothing("There is no function yet: deploy one with faas-cli."),
  );
}

function state(one) {
  const name = one.state ?? "unknown";
  return el("span", { class: STATES[name] ?? "muted" }, one.detail ? `${name}: ${one.detail}` : name);
}
