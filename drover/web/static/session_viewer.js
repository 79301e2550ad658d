// One session, large and live.

import { address } from "./api.js";
import { byId, setData, setText, stamp } from "./dom.js";
import { ago, condition, megabytes, user } from "./words.js";

const AGAIN_MS = 2000;

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
    this.#live.addEventListener("error", () => this.#tryAgain());
    this.#live.addEventListener("load", () => setText(this.#note, ""));
    document.addEventListener("visibilitychange", () => this.#follow());
  }

  /** Opens the large picture of a session. */
  open(session) {
    this.#sessionId = session.session_id;
    setText(byId("viewer-title"), session.session_id);
    setText(this.#note, "");
    this.#pictures.pause(true);
    this.show(session);
    this.#dialog.showModal();
    this.#follow();
  }

  /** Shows what is known of the session now. */
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
      ["ChromeDriver", session.driver ? `PID ${session.driver.pid} at ${session.driver.url}` : "none now"],
      ["Browser", session.browser ? `PID ${session.browser.pid}, DevTools at ${session.browser.debugger_address}` : "none now"],
    ];
    byId("viewer-facts").replaceChildren(...facts.map(fact));
  }

  #follow() {
    clearTimeout(this.#timer);
    // Without an address the browser closes the connection, and no more pictures are taken.
    if (this.#sessionId === null || document.hidden) this.#live.removeAttribute("src");
    else this.#live.src = address(`/sessions/${encodeURIComponent(this.#sessionId)}/live`).href;
  }

  #tryAgain() {
    if (this.#sessionId === null) return;
    setText(this.#note, "No picture comes at this moment. Trying again by itself.");
    this.#timer = setTimeout(() => this.#follow(), AGAIN_MS);
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
