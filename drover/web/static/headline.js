// The headline: what is wrong, and which button helps.

import { byId, setData, setText, stamp } from "./dom.js";
import { KeyedList } from "./keyed_list.js";
import { counted, heldMb, megabytes } from "./words.js";

const NEARLY_FULL = 0.9;

/** Returns the problems, the most serious first, each as `{tone, headline, advice}`. */
export function findings({ sessions, processes, capacity }) {
  const found = [];
  const add = (tone, headline, advice) => found.push({ tone, headline, advice });
  if (capacity.stopping) add("warn", "Drover is stopping", "Sessions are being closed. No new session starts.");
  else if (capacity.unavailable) add("bad", "No browser can be started", capacity.unavailable);
  else if (capacity.without_database) add("bad", "This machine serves no session", capacity.without_database);
  const lost = capacity.nodes.filter(({ state }) => state === "lost");
  if (lost.length) {
    add("warn", `${counted(lost.length, "machine is", "machines are")} lost: ${lost.map(({ name }) => name).join(", ")}`,
      "Sessions that were there are restored on another machine when they are used next. Check that it is up and reaches the database.");
  }
  const dead = [...sessions.values()].filter(({ state, health }) => state === "ready" && health.status === "dead");
  if (dead.length) {
    const names = dead.slice(0, 3).map((session) => session.session_id).join(", ");
    add("bad", `${counted(dead.length, "session is", "sessions are")} dead`,
      `Press Recover on ${names}${dead.length > 3 ? " and the others" : ""}. The next request for a dead session recovers it as well.`);
  }
  const orphans = [...processes.values()].filter(({ verdict }) => verdict === "orphan");
  if (orphans.length) {
    add("warn", `${counted(orphans.length, "orphaned process", "orphaned processes")} on this machine`,
      `They belong to no session and use up to ${megabytes(heldMb(orphans))}. “Clean up orphans” ends them and nothing else.`);
  }
  if (capacity.waiting) {
    add("warn", `${counted(capacity.waiting, "request waits", "requests wait")} for a session`,
      "All sessions are in use. Close one, or allow more with DROVER_MAX_SESSIONS.");
  }
  if (capacity.memory_used_mb > NEARLY_FULL * capacity.memory_total_mb) {
    add("warn", "The memory of this machine is nearly full",
      `${megabytes(capacity.memory_used_mb)} of ${megabytes(capacity.memory_total_mb)} are used. The process trees below show which processes use it.`);
  }
  return found;
}

/** Returns the text that is shown if there is no problem. */
function allIsWell({ sessions, processes }) {
  const recovering = [...sessions.values()].filter(({ state }) => state === "recovering").length;
  const said = sessions.size ? `${counted(sessions.size, "session is", "sessions are")} open` : "No session is open";
  const advice = recovering ? `${said}, ${recovering} being recovered right now.` : `${said}. There are no orphans among ${counted(processes.size, "Chrome process", "Chrome processes")}.`;
  return { tone: "good", headline: "All is well", advice };
}

export function headlineView() {
  const list = new KeyedList(byId("findings"), () => {
    const { element, parts } = stamp("finding");
    return { element, update: (text) => setText(parts.text, text) };
  });
  return (state) => {
    if (!state.capacity || !state.processesReadAt) return;
    const [first, ...others] = [...findings(state), allIsWell(state)].filter((found, place) => place === 0 || found.tone !== "good");
    setData(byId("verdict"), "tone", first.tone);
    setData(byId("verdict"), "orphans", String([...state.processes.values()].some(({ verdict }) => verdict === "orphan")));
    setText(byId("headline"), first.headline);
    setText(byId("advice"), first.advice);
    list.show(others.map((found) => [found.headline, `${found.headline}. ${found.advice}`]));
    document.title = first.tone === "good" ? "Drover" : `${first.headline} – Drover`;
  };
}
