// The GPUs: which function has had how much of each of late, and what it holds now.

import { byId, bytes, count, duration, el, nothing, number, share, table } from "./parts.js";

const COLUMNS = [
  { title: "Function" }, { title: "Holds now", number: true }, { title: "Share of the SMs", number: true },
  { title: "Leases", number: true }, { title: "Wait for a lease", number: true }, { title: "Overuse", number: true },
  { title: "Memory", number: true }, { title: "in quarantine", number: true },
];

/** `before` is the snapshot that "of late" counts from; `tints` are by group of this app. */
export function gpus(now, before, tints) {
  byId("gpus-card").hidden = !now.gpus?.length;
  const over = now.now - before.now;
  const look = (name) => tints.get(name.startsWith(`${now.app}/`) ? name.slice(now.app.length + 1) : "") ?? "rest";
  byId("gpus").replaceChildren(
    ...(now.gpus ?? []).map((gpu) => {
      const base = before.gpus?.find((other) => other.gpu === gpu.gpu && other.epoch === gpu.epoch);
      return device(gpu, functions(gpu, base), over, look);
    }),
  );
}

/** Who shares a GPU now, or has used it of late; an arbiter that began anew counts from 0. */
function functions(gpu, base) {
  const found = gpu.usage.map((usage) => {
    const members = gpu.members.filter((member) => member.name === usage.name);
    const past = base?.usage.find((other) => other.name === usage.name);
    const done = (key) => usage[key] - (past?.[key] ?? 0);
    return {
      ...usage, members, used: done("sm_seconds"), leases: done("grants"), waited: done("lease_wait"), over: done("overuse"),
      sms: members.reduce((sum, member) => sum + member.sms, 0),
    };
  });
  return found.filter((one) => one.members.length || one.used || one.quarantined);
}

function device(gpu, users, over, look) {
  const part = (one) => (over ? one.used / (gpu.sms * over) : null);
  const bar = el("div", { class: "bar", "aria-hidden": "true" });
  for (const one of users) {
    const piece = el("i", { class: look(one.name), title: `${one.name}: ${share(part(one))}` });
    piece.style.width = `${part(one) * 100}%`;
    bar.append(piece);
  }
  const rows = users.map((one) => [
    el("span", { title: count(one.members.length, "replica") }, el("span", { class: `swatch ${look(one.name)}` }), one.name),
    one.sms ? `${one.sms} SMs` : "–",
    share(part(one)),
    over && one.leases ? `${number(one.leases / over)} /s` : "–",
    one.leases ? duration(one.waited / one.leases) : "–",
    one.over ? duration(one.over) : "–",
    bytes(one.declared),
    one.quarantined ? el("span", { class: "fair" }, bytes(one.quarantined)) : "–",
  ]);
  const about = `${gpu.card}  ·  ${gpu.sms - gpu.free_sms} of ${gpu.sms} SMs held now  ·  ` +
    `${bytes(gpu.memory - gpu.free_memory)} of ${bytes(gpu.memory)} given out`;
  return el("div", { class: "gpu", "data-gpu": gpu.gpu },
    el("h3", {}, `GPU ${gpu.gpu}`, el("small", {}, about)),
    ...(users.length ? [bar, el("div", { class: "scroll" }, table(COLUMNS, rows))] : [nothing("Nobody has a share of it.")]));
}
