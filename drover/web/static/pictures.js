// Screenshots of the sessions that are visible, one at a time. None is taken while the page is hidden, or of
// cards that are scrolled out of view or behind the live view. Only the live view uses a stream, since browsers
// open at most six connections to a host.

import { picture } from "./api.js";
import { setText, show } from "./dom.js";

const OLD_MS = 8000;
const REST_MS = 1000;
const WIDTH = 480;

export class Pictures {
  #seen = new Map();
  #waits = false;
  #paused = false;
  #watch = new IntersectionObserver((entries) => this.#note(entries), { rootMargin: "0px" });
  #subjects = new WeakMap();

  #mayTake;

  /** @param mayTake whether a screenshot of a session would recover or restore nothing */
  constructor(mayTake) {
    this.#mayTake = mayTake;
    document.addEventListener("visibilitychange", () => this.#next());
  }

  /** Refreshes the picture of a card while it is visible; `subject()` returns its session. */
  follow({ element, canvas, note, subject }) {
    this.#subjects.set(element, { canvas, note, subject, takenAt: 0 });
    this.#watch.observe(element);
  }

  forget(element) {
    this.#watch.unobserve(element);
    this.#seen.delete(element);
  }

  /** Stops or resumes taking screenshots; used while a dialog covers the cards. */
  pause(paused) {
    this.#paused = paused;
    this.#next();
  }

  #note(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#seen.set(target, this.#subjects.get(target));
      else this.#seen.delete(target);
    }
    this.#next();
  }

  async #next() {
    if (this.#waits || this.#paused || document.hidden || this.#seen.size === 0) return;
    this.#waits = true;
    const oldest = [...this.#seen.values()]
      .filter(({ subject, takenAt }) => this.#mayTake(subject()) && Date.now() - takenAt > OLD_MS)
      .sort((one, other) => one.takenAt - other.takenAt)[0];
    if (oldest) await take(oldest);
    setTimeout(() => {
      this.#waits = false;
      this.#next();
    }, REST_MS);
  }
}

async function take(card) {
  card.takenAt = Date.now();
  try {
    await draw(card.canvas, await picture(card.subject().session_id));
    show(card.note, false);
  } catch (error) {
    setText(card.note, `No screenshot: ${error.message}`);
    show(card.note, true);
  }
}

/** Draws a small copy of a picture into a canvas and frees the original at once. */
async function draw(canvas, blob) {
  const drawn = await createImageBitmap(blob, { resizeWidth: WIDTH, resizeQuality: "medium" });
  canvas.width = drawn.width;
  canvas.height = drawn.height;
  canvas.getContext("2d").drawImage(drawn, 0, 0);
  drawn.close();
}
