// Open, close and recover a session.

import { call } from "./api.js";
import { busyWhile, byId, closable, notice, setText } from "./dom.js";
import { recovery, user } from "./words.js";

const pathOf = (session) => `/sessions/${encodeURIComponent(session.session_id)}`;

export function openButton() {
  const dialog = closable(byId("open-dialog"));
  const form = byId("open-form");
  byId("open-session").addEventListener("click", () => {
    form.reset();
    setText(byId("open-error"), "");
    dialog.showModal();
    byId("open-url").focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const filled = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
    busyWhile(byId("open-go"), async () => {
      try {
        const { session_id: id, created } = await call("POST", "/sessions", Object.fromEntries(filled));
        dialog.close();
        notice(created ? `Session ${id} is open` : `Session ${id} was already open`, "good");
      } catch (error) {
        setText(byId("open-error"), error.message);
      }
    });
  });
}

/** Checks a session, recovers it if it is dead, and shows the result. */
export function recover(session, button) {
  return busyWhile(button, async () => {
    const answer = await call("GET", pathOf(session));
    if (answer.recovery) notice(`Session ${session.session_id} was recovered: ${recovery(answer.recovery)}`, "good");
    else notice(`Session ${session.session_id} is ${answer.session.health.status}; no recovery was needed`, "quiet");
  });
}

/** Closes a session once the operator has confirmed it. */
export function close(session, button) {
  const dialog = byId("close-dialog");
  setText(byId("close-title"), `Close session ${session.session_id}?`);
  const used = session.in_use ? `It is in use by ${user(session)}. ` : "It is not in use now. ";
  const kept = session.key === null ? "Its open pages are lost." : "Its open pages, cookies and storage are lost.";
  setText(byId("close-lead"), used + kept);
  dialog.returnValue = "keep";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "close") return;
    busyWhile(button, async () => notice((await call("DELETE", pathOf(session))).message, "good"));
  }, { once: true });
  dialog.showModal();
}
