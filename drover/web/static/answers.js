// Answers to an operator's questions, each in one dialog with a table: who has the places, which session uses the
// memory, what is kept for keys, and what happened to a session.

import { call } from "./api.js";
import { busyWhile, byId, notice, setText, show, stamp } from "./dom.js";
import { ago, clock, counted, megabytes, user } from "./words.js";

const pathOf = (key) => `/keys/${encodeURIComponent(key)}`;
const dateOf = (moment) => `${new Date(moment).toLocaleDateString()} ${clock(moment)}`;

/** Connects the buttons of the questions to the state of the page. */
export function questionButtons(state) {
  ask("ask-places", () => places(state));
  ask("ask-memory", () => memory(state));
  ask("ask-keys", keys);
}

/** Shows what has happened to a session. */
export function history(session, button) {
  return busyWhile(button, async () => {
    const { history: entries } = await call("GET", `/sessions/${encodeURIComponent(session.session_id)}/history`);
    answer(`What happened to ${session.session_id}`, counted(entries.length, "entry", "entries"), ["When", "What", "By"],
      entries.map((one) => [dateOf(one.time), one.text, one.client ?? "Drover"]));
  });
}

function places({ sessions, capacity }) {
  const rows = [...sessions.values()].sort((one, other) => other.in_use - one.in_use)
    .map((one) => [one.session_id, one.in_use ? user(one) : "not in use: its place can be given to another", ago(one.last_used)]);
  const free = capacity.max_sessions - capacity.active_sessions;
  const why = capacity.unavailable ? `No browser can be started: ${capacity.unavailable}.`
    : free > 0 ? `${counted(free, "place is", "places are")} free.`
      : rows.length && [...sessions.values()].every((one) => one.in_use) ? "All sessions are in use."
        : "All places are taken; the next request gets that of the session that was not used for longest.";
  answer("Why is there no place?", why, ["Session", "In use by", "Last used"], rows);
}

function memory({ sessions, capacity }) {
  const rows = [...sessions.values()].sort((one, other) => (other.memory_mb ?? 0) - (one.memory_mb ?? 0))
    .map((one) => [one.session_id, megabytes(one.memory_mb), one.current_url ?? "no page yet"]);
  const used = `${megabytes(capacity.memory_used_mb)} of ${megabytes(capacity.memory_total_mb)} are used on this machine.`;
  answer("Which session uses the memory?", used, ["Session", "Memory", "Page"], rows);
}

async function keys() {
  const { keys: kept, max_kept_mb: limit } = await call("GET", "/keys");
  const size = kept.reduce((sum, one) => sum + one.size_mb, 0);
  answer("What is kept for keys?", `${counted(kept.length, "key")}, ${megabytes(size)}${limit ? `; profiles may have ${megabytes(limit)}` : ""}.`,
    ["Key", "Kept", "Last used", "Forget"],
    kept.map((one) => [one.key, `${one.profile === "keep" ? "whole profile" : "cookies and storage"}, ${megabytes(one.size_mb)}`, ago(one.last_used), forgetButton(one.key)]));
}

function forgetButton(key) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "danger";
  button.textContent = "Forget";
  button.setAttribute("aria-label", `Forget the login of ${key}`);
  button.addEventListener("click", () => busyWhile(button, async () => {
    if (button.textContent === "Forget") {
      button.textContent = "Press again to forget";
      return;
    }
    notice((await call("DELETE", pathOf(key))).message, "good");
    await keys();
  }));
  return button;
}

function ask(id, show) {
  byId(id).addEventListener("click", () => busyWhile(byId(id), show));
}

function answer(title, lead, columns, rows) {
  setText(byId("answer-title"), title);
  setText(byId("answer-lead"), lead);
  setText(byId("answer-caption"), title);
  byId("answer-head").replaceChildren(...columns.map((name) => cell("th", name)));
  byId("answer-rows").replaceChildren(...rows.map((row) => {
    const { element } = stamp("answer-row");
    element.replaceChildren(...row.map((value) => cell("td", value)));
    return element;
  }));
  show(byId("answer-frame"), rows.length > 0);
  if (!byId("answer-dialog").open) byId("answer-dialog").showModal();
}

function cell(kind, value) {
  const element = document.createElement(kind);
  if (kind === "th") element.scope = "col";
  if (value instanceof Node) element.append(value);
  else setText(element, value);
  return element;
}
