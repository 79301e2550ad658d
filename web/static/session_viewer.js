// One session, large and live.

import { address, picture } from "./api.js";
import { byId, setData, setText, show, stamp } from "./dom.js";
import { draw } from "./pictures.js";
import { ago, condition, megabytes, user } from "./words.js";

const STILL_MS = 1500;
const STILL_WIDTH = 1600;

export class SessionViewer {
  #dialog = byId("viewer");
  #live = byId("viewer-live");
  #still = byId("viewer-still");
  #note = byId("viewer-note");
  #pictures;
  #sessionId = null;
  #timer = 0;

  constructor(pictures) {
    this.#pictures = pictures;
    byId("viewer-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#end());
    this.#live.addEventListener("error", () => this.#showStills());
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
    if (session) this.show(session);
    else setText(this.#note, "This session is closed.");
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
    const looked = this.#sessionId !== null && !document.hidden;
    clearTimeout(this.#timer);
    show(this.#live, true);
    show(this.#still, false);
    if (looked) this.#live.src = address(`/sessions/${encodeURIComponent(this.#sessionId)}/live`).href;
    else this.#live.removeAttribute("src");
  }

  /** Falls back to still pictures where there is no live one. */
  async #showStills() {
    if (this.#sessionId === null || document.hidden) return;
    const id = this.#sessionId;
    try {
      await draw(this.#still, await picture(id), STILL_WIDTH);
      show(this.#live, false);
      show(this.#still, true);
    } catch (error) {
      setText(this.#note, `No picture: ${error.message}`);
    }
    if (id === this.#sessionId) this.#timer = setTimeout(() => this.#showStills(), STILL_MS);
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
