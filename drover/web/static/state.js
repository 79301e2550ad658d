// The state of the service, as received so far. Views are called at most once per frame after a change.

const LOG_LINES = 500;
const MOMENTS = 200;

export class State {
  sessions = new Map();
  processes = new Map();
  processesReadAt = null;
  capacity = null;
  moments = [];
  lines = [];

  #views = [];
  #changed = new Set();

  /** Calls `view(state)` after any of `kinds` has changed. */
  watch(kinds, view) {
    this.#views.push({ kinds, view });
  }

  /** Returns whether a session lives, on a machine that is not lost. */
  isAlive({ state, health, node }) {
    const isReached = !node || this.capacity.nodes.some(({ name, state: up }) => name === node.name && up !== "lost");
    return state === "ready" && health.status !== "dead" && isReached;
  }

  /** Applies one event. */
  take(kind, data) {
    if (kind === "state") {
      this.#takeAll(data);
      return;
    }
    this.#takers[kind](data);
    if (this.#changed.size === 0) requestAnimationFrame(() => this.#show());
    this.#changed.add(kind);
  }

  #takers = {
    sessions: (data) => replaceRows(this.sessions, "session_id", data),
    processes: (data) => {
      const born = Date.parse(data.read_at);
      for (const row of data.changed) row.bornMs = born - row.age_s * 1000;
      replaceRows(this.processes, "pid", data);
      this.processesReadAt = data.read_at;
    },
    capacity: (data) => (this.capacity = data),
    timeline: (data) => (this.moments = joined(this.moments, data.moments, MOMENTS)),
    log: (data) => (this.lines = joined(this.lines, data.lines, LOG_LINES)),
  };

  #takeAll(data) {
    this.sessions.clear();
    this.processes.clear();
    this.processesReadAt = null;
    this.moments = [];
    this.lines = [];
    this.take("sessions", { changed: data.sessions, removed: [] });
    this.take("capacity", data.capacity);
    this.take("timeline", { moments: data.timeline });
    this.take("log", { lines: data.log });
    if (data.processes) {
      this.take("processes", { read_at: data.processes.read_at, changed: data.processes.rows, removed: [] });
    }
  }

  #show() {
    const changed = this.#changed;
    this.#changed = new Set();
    for (const { kinds, view } of this.#views) {
      if (kinds.some((kind) => changed.has(kind))) view(this);
    }
  }
}

function replaceRows(rows, key, { changed, removed }) {
  for (const gone of removed) rows.delete(gone);
  for (const row of changed) rows.set(row[key], row);
}

/** Appends new entries to the known ones; an entry that arrives twice is recognised by its number. */
function joined(known, news, longest) {
  const last = known.at(-1)?.number ?? 0;
  return [...known, ...news.filter((entry) => entry.number > last)].slice(-longest);
}
