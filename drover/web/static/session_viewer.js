// The live view of one session.

import { address } from "./api.js";
import { byId, setData, setText, stamp } from "./dom.js";
import { ago, condition, megabytes, user } from "./words.js";

const RETRY_MS = 2000;

export class SessionViewer {
  #dialog = byId("viewer");
  #live = byId("viewer-live");
  #note = byId("viewer-note");
  #pictures;
  #sessionId = null;
  #timer = 0;

  constructor(pictures) {
    this.#pictures = pictures;
    byId("viewer-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#end());
    this.#live.addEventListener("error", () => this.#retry());
    this.#live.addEventListener("load", () => setText(this.#note, ""));
    document.addEventListener("visibilitychange", () => this.#follow());
  }

  /** Opens the live view of a session. */
  open(session) {
    this.#sessionId = session.session_id;
    setText(byId("viewer-title"), session.session_id);
    setText(this.#note, "");
    this.#pictures.pause(true);
    this.show(session);
    this.#dialog.showModal();
    this.#follow();
  }

  /** Updates the facts about the session. */
  view({ sessions }) {
    if (this.#sessionId === null) return;
    const session = sessions.get(this.#sessionId);
    if (session) {
      this.show(session);
    } else {
      this.#sessionId = null;
      this.#follow();
      setText(this.#note, "This session is closed.");
    }
  }

  show(session) {
    const [word, tone] = condition(session);
    setText(byId("viewer-health"), word);
    setData(byId("viewer-health"), "tone", tone);
    const facts = [
      ["Address", session.current_url ?? "no page yet"],
      ["Health", session.health.reason ?? word],
      ["In use by", user(session)],
      ["Last used", ago(session.last_used)],
      ["Memory", megabytes(session.memory_mb)],
      ["ChromeDriver", session.driver ? `PID ${session.driver.pid} at ${session.driver.url}` : "none"],
      ["Browser", session.browser ? `PID ${session.browser.pid}, DevTools at ${session.browser.debugger_address}` : "none"],
    ];
    byId("viewer-facts").replaceChildren(...facts.map(fact));
  }

  #follow() {
    clearTimeout(this.#timer);
    // Without a `src` the browser closes the connection, and no more frames are taken.
    if (this.#sessionId === null || document.hidden) this.#live.removeAttribute("src");
    else this.#live.src = address(`/sessions/${encodeURIComponent(this.#sessionId)}/live`).href;
  }

  #retry() {
    if (this.#sessionId === null) return;
    setText(this.#note, "No live picture now. Retrying automatically.");
    this.#timer = setTimeout(() => this.#follow(), RETRY_MS);
  }

  #end() {
    this.#sessionId = null;
    this.#follow();
    this.#pictures.pause(false);
  }
}

function fact([name, value]) {
  const { element, parts } = stamp("fact");
  setText(parts.name, name);
  setText(parts.value, value);
  return element;
}
