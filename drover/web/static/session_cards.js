// One card per session: its health, its holder, and its actions.

import { byId, setAddress, setData, setLabel, setText, show, stamp } from "./dom.js";
import { KeyedList } from "./keyed_list.js";
import { ago, condition, duration, megabytes, recovery, secondsSince, user } from "./words.js";

/**
 * @param pictures refreshes the pictures
 * @param actions `{look, recover, close}`, each called with a session and the button that was pressed
 */
export function sessionCards(pictures, actions) {
  const list = new KeyedList(byId("session-cards"), (session) => card(session, pictures, actions));
  const filter = byId("session-filter");
  let latest = new Map();

  const view = ({ sessions }) => {
    latest = sessions;
    const wanted = filter.value.trim().toLowerCase();
    const shown = [...sessions].filter(([, session]) => !wanted || searchText(session).includes(wanted));
    list.show(shown.sort(([, one], [, other]) => urgency(other) - urgency(one)));
    const empty = sessions.size ? "No session matches the search." : "No session is open. Open one here, or with POST /sessions.";
    setText(byId("no-sessions"), empty);
    show(byId("no-sessions"), shown.length === 0);
  };
  filter.addEventListener("input", () => view({ sessions: latest }));

  return { view, tick: () => [...list.rows()].forEach((row) => row.tick()) };
}

/** Sorts sessions that need attention first; all others stay in the order in which they were opened. */
function urgency(session) {
  return ["warn", "bad"].indexOf(condition(session)[1]);
}

function searchText(session) {
  return [session.session_id, session.key, session.current_url, session.lease?.holder, session.node?.name].join(" ").toLowerCase();
}

function card(first, pictures, actions) {
  const { element, parts } = stamp("session-card");
  let session = first;
  const id = first.session_id;
  setText(parts.id, id);
  setLabel(parts.look, `View ${id} live`);
  setLabel(parts.view, `View ${id}`);
  setLabel(parts.history, `History of ${id}`);
  setLabel(parts.recover, `Recover ${id}`);
  setLabel(parts.close, `Close ${id}`);
  parts.view.title = "Shows the page live; you can take control of it";
  parts.recover.title = "Checks the session and recovers it if it is dead";
  parts.close.title = "Closes its browser and removes its profile";
  for (const name of ["look", "history", "recover", "close"]) {
    parts[name].addEventListener("click", () => actions[name](session, parts[name]));
  }
  parts.view.addEventListener("click", () => actions.look(session, parts.view));
  pictures.follow({ element, canvas: parts.picture, note: parts.noPicture, subject: () => session });

  const tick = () => {
    setText(parts.lastUsed, ago(session.last_used));
    setText(parts.age, duration(secondsSince(session.created_at)));
  };
  const update = (now) => {
    session = now;
    const [word, tone] = condition(session);
    setText(parts.health, word);
    setData(parts.health, "tone", tone);
    setData(element, "tone", tone);
    setText(parts.key, session.key === null ? "" : `key ${session.key}`);
    show(parts.key, session.key !== null);
    setAddress(parts.address, session.current_url ?? "no page yet");
    setText(parts.reason, session.health.reason ?? "");
    show(parts.reason, Boolean(session.health.reason));
    setText(parts.user, user(session));
    setText(parts.memory, megabytes(session.memory_mb));
    setText(parts.node, session.node?.name ?? "");
    show(parts.machine, Boolean(session.node));
    const last = session.last_recovery ? ` – ${recovery(session.last_recovery)}` : "";
    setText(parts.recoveries, `${session.recoveries || "none"}${last}`);
    tick();
  };
  return { element, update, tick, end: () => pictures.forget(element) };
}
