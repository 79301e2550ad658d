// The five seconds: is the service well, what is wrong, which button.

import { byId, setData, setText, stamp } from "./dom.js";
import { KeyedList } from "./keyed_list.js";
import { counted, heldMb, megabytes } from "./words.js";

const NEARLY_FULL = 0.9;

/** Gives what is wrong, the worst first, each as `{tone, headline, advice}`. */
export function findings({ sessions, processes, capacity }) {
  const found = [];
  const tell = (tone, headline, advice) => found.push({ tone, headline, advice });
  if (capacity.stopping) tell("warn", "Drover is stopping", "Sessions are being closed; no new one starts.");
  else if (capacity.unavailable) tell("bad", "No browser can be started", capacity.unavailable);
  const dead = [...sessions.values()].filter(({ state, health }) => state === "ready" && health.status === "dead");
  if (dead.length) {
    const names = dead.slice(0, 3).map((session) => session.session_id).join(", ");
    tell("bad", `${counted(dead.length, "session is", "sessions are")} dead`,
      `Recover brings back ${names}${dead.length > 3 ? " and the others" : ""}; so does the next request for it.`);
  }
  const orphans = [...processes.values()].filter(({ verdict }) => verdict === "orphan");
  if (orphans.length) {
    tell("warn", `${counted(orphans.length, "orphaned process", "orphaned processes")} on this machine`,
      `Nobody owns them, and they hold up to ${megabytes(heldMb(orphans))}. “Clean up orphans” ends them and nothing else.`);
  }
  if (capacity.waiting) {
    tell("warn", `${counted(capacity.waiting, "caller waits", "callers wait")} for a session`,
      "Every place is taken by a session in use. Close one, or allow more with DROVER_MAX_SESSIONS.");
  }
  if (capacity.memory_used_mb > NEARLY_FULL * capacity.memory_total_mb) {
    tell("warn", "The memory of this machine is nearly full",
      `${megabytes(capacity.memory_used_mb)} of ${megabytes(capacity.memory_total_mb)} are taken. The trees below tell by whom.`);
  }
  return found;
}

/** Gives the words for a machine with which nothing is wrong. */
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
