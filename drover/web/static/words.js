// Numbers, times and the service's enum values as text for people.

const DAY_S = 86400;
const HOUR_S = 3600;
const MINUTE_S = 60;

export function counted(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < MINUTE_S) return `${whole} s`;
  if (whole < HOUR_S) return `${Math.floor(whole / MINUTE_S)} min`;
  if (whole < DAY_S) return `${Math.floor(whole / HOUR_S)} h ${Math.floor((whole % HOUR_S) / MINUTE_S)} min`;
  return `${counted(Math.floor(whole / DAY_S), "day")} ${Math.floor((whole % DAY_S) / HOUR_S)} h`;
}

export function secondsSince(moment, now = Date.now()) {
  return (now - Date.parse(moment)) / 1000;
}

export function ago(moment) {
  const seconds = secondsSince(moment);
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

export function clock(moment) {
  return new Date(moment).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function megabytes(mb) {
  if (mb === null || mb === undefined) return "not measured yet";
  return mb < 1000 ? `${Math.round(mb)} MB` : `${(mb / 1000).toFixed(1)} GB`;
}

/** Sums the memory of processes; shared pages count for each, so this is the most that can be freed. */
export const heldMb = (rows) => rows.reduce((sum, row) => sum + (row.memory_mb ?? 0), 0);

export function milliseconds(ms) {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export const VERDICT = { orphan: "Orphan", protected: "Protected", foreign: "Foreign" };

const ROLE = {
  driver: "ChromeDriver",
  browser: "browser",
  renderer: "page",
  gpu: "graphics",
  utility: "helper",
  zygote: "zygote",
  crashpad: "crash reporter",
  other: "other",
};

export const role = (name) => ROLE[name] ?? name;

const CAUSE = {
  driver_gone: "ChromeDriver had died",
  driver_hung: "ChromeDriver hung",
  browser_gone: "the browser had died",
  browser_hung: "the browser hung",
  tab_crashed: "the tab had crashed",
  window_gone: "the window was closed",
  node_gone: "its machine was lost, or has left",
  recycled: "its browser was old or large",
};

const METHOD = {
  reattached: "same browser, with its tabs and forms",
  restored: "new browser with cookies, storage and address restored",
  recreated: "new, empty browser",
};

export function recovery(found) {
  const cause = CAUSE[found.cause] ?? found.cause;
  const method = METHOD[found.method] ?? found.method;
  const lost = found.lost.length ? `; lost: ${found.lost.join(", ")}` : "";
  return `${cause}; ${method}${lost} (${milliseconds(found.duration_ms)})`;
}

/** Returns the state of a session as a short label, and its tone: good, warn, bad or quiet. */
export function condition(session) {
  if (session.state === "starting") return ["Starting", "quiet"];
  if (session.state === "recovering") return ["Recovering", "warn"];
  if (session.state === "closing") return ["Closing", "quiet"];
  return {
    healthy: ["Healthy", "good"],
    busy: ["Busy", "good"],
    dead: ["Dead", "bad"],
    unknown: ["Not checked yet", "quiet"],
  }[session.health.status] ?? [session.health.status, "quiet"];
}

/** Returns who uses a session. */
export function user(session) {
  if (session.lease) return session.lease.holder ?? "an unnamed client";
  return session.in_use ? "a client" : "no one";
}
