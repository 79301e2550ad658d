// The row of figures: load of the service and of the machine.

import { byId, setText } from "./dom.js";
import { megabytes } from "./words.js";

export function showCapacity({ capacity }) {
  const { active_sessions: active, max_sessions: most } = capacity;
  setText(byId("figure-sessions"), `${active} of ${most}`);
  const free = active < most ? `${most - active} free` : "all in use";
  setText(byId("figure-sessions-note"), capacity.nodes.length ? `${free}, on this machine` : free);
  fill(byId("meter-sessions"), active, most);
  setText(byId("figure-waiting"), String(capacity.waiting));
  setText(byId("figure-warm"), String(capacity.warm));
  const { memory_used_mb: used, memory_total_mb: total } = capacity;
  setText(byId("figure-memory"), megabytes(used));
  setText(byId("figure-memory-note"), `of ${megabytes(total)} used`);
  fill(byId("meter-memory"), used, total);
}

export function showProcessFigures({ processes }) {
  const counts = { orphan: 0, protected: 0, foreign: 0 };
  for (const { verdict } of processes.values()) counts[verdict] += 1;
  setText(byId("figure-processes"), String(processes.size));
  setText(byId("figure-processes-note"), `${counts.orphan} orphans, ${counts.protected} protected, ${counts.foreign} foreign`);
}

export function fill(meter, value, most) {
  meter.max = most;
  meter.high = 0.9 * most;
  meter.value = value;
}
