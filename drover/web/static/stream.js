// The connection to /events: open while the page is visible, closed while it is hidden.

import { address } from "./api.js";

const KINDS = ["state", "sessions", "processes", "capacity", "log", "timeline"];
const RECONNECT_MS = 2000;
// The process table arrives every four seconds, changed or not.
const SILENCE_MS = 15_000;

export class Stream {
  #onEvent;
  #onLink;
  #source = null;
  #reconnectTimer = 0;
  #heard = 0;
  #openedAt = 0;

  /**
   * @param onEvent called with the kind of an event and its data
   * @param onLink called with `live`, `lost` or `paused` when that changes
   */
  constructor(onEvent, onLink) {
    this.#onEvent = onEvent;
    this.#onLink = onLink;
    document.addEventListener("visibilitychange", () => this.#follow());
    setInterval(() => this.#checkSilence(), 5000);
    this.#follow();
  }

  /** Time of the last event, in milliseconds since the epoch; 0 if there was none. */
  get heard() {
    return this.#heard;
  }

  #follow() {
    if (document.hidden) {
      this.#close();
      this.#onLink("paused");
    } else if (!this.#source) {
      this.#open();
    }
  }

  #open() {
    const source = (this.#source = new EventSource(address("/events")));
    this.#openedAt = Date.now();
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        this.#heard = Date.now();
        if (kind === "state") this.#onLink("live");
        this.#onEvent(kind, JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => this.#lose());
  }

  #lose() {
    this.#close();
    this.#onLink("lost");
    this.#reconnectTimer = setTimeout(() => this.#open(), RECONNECT_MS);
  }

  #checkSilence() {
    const silentSince = Math.max(this.#heard, this.#openedAt);
    if (this.#source && this.#heard && Date.now() - silentSince > SILENCE_MS) this.#lose();
  }

  #close() {
    clearTimeout(this.#reconnectTimer);
    this.#source?.close();
    this.#source = null;
  }
}
