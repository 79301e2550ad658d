// Mouse, wheel and touch on the picture of a page, as messages of the view.

import { modifiers } from "./page_keyboard.js";

const BUTTONS = ["left", "middle", "right", "back", "forward"];
const DOUBLE_MS = 500;
const NEAR_PX = 6;
const LINE_PX = 40;

export class PagePointer {
  #canvas;
  #send;
  #size = { width: 0, height: 0 };
  #active = false;
  #move = null;
  #wheel = null;
  #frame = 0;
  #last = { at: 0, button: -1, x: 0, y: 0, clicks: 0 };
  #touch = null;

  /**
   * @param stage takes the events
   * @param canvas shows the picture
   * @param send sends a message
   * @param pressed called with the place of a press, in pixels of the canvas on the screen, and its kind
   */
  constructor(stage, canvas, send, pressed) {
    this.#canvas = canvas;
    this.#send = send;
    const on = (name, handle) =>
      stage.addEventListener(name, (event) => this.#active && handle(event), { passive: false });
    on("pointerdown", (event) => {
      event.preventDefault();
      stage.setPointerCapture(event.pointerId);
      const { left, top } = canvas.getBoundingClientRect();
      pressed(event.clientX - left, event.clientY - top, event.pointerType);
      if (event.pointerType === "touch") this.#touch = { id: event.pointerId, x: event.clientX, y: event.clientY, scrolls: false };
      else this.#press(event);
    });
    on("pointermove", (event) => (event.pointerType === "touch" ? this.#drag(event) : this.#hover(event)));
    on("pointerup", (event) => (event.pointerType === "touch" ? this.#tap(event) : this.#release(event)));
    on("pointercancel", () => (this.#touch = null));
    on("wheel", (event) => this.#turn(event));
    on("contextmenu", (event) => event.preventDefault());
    // A press would move the focus away from the page's keyboard.
    on("mousedown", (event) => event.preventDefault());
  }

  set size(size) {
    this.#size = size;
  }

  set active(active) {
    this.#active = active;
    this.#touch = this.#move = this.#wheel = null;
  }

  #press(event) {
    const { button, clientX: x, clientY: y } = event;
    const last = this.#last;
    const again = button === last.button && event.timeStamp - last.at < DOUBLE_MS && near(last, x, y);
    this.#last = { at: event.timeStamp, button, x, y, clicks: again ? (last.clicks % 3) + 1 : 1 };
    this.#flush();
    this.#mouse("down", event, { button: BUTTONS[button], clicks: this.#last.clicks });
  }

  #release(event) {
    this.#flush();
    this.#mouse("up", event, { button: BUTTONS[event.button], clicks: this.#last.clicks });
  }

  #hover(event) {
    this.#move = event;
    this.#soon();
  }

  #turn(event) {
    event.preventDefault();
    const unit = [1, LINE_PX, this.#size.height][event.deltaMode];
    const before = this.#wheel ?? { dx: 0, dy: 0 };
    this.#wheel = { event, dx: before.dx + event.deltaX * unit, dy: before.dy + event.deltaY * unit };
    this.#soon();
  }

  #drag(event) {
    const touch = this.#touch;
    if (touch?.id !== event.pointerId || (!touch.scrolls && near(touch, event.clientX, event.clientY))) return;
    touch.scrolls = true;
    const scale = this.#scale();
    const before = this.#wheel ?? { dx: 0, dy: 0 };
    const dx = before.dx + (touch.x - event.clientX) * scale;
    const dy = before.dy + (touch.y - event.clientY) * scale;
    this.#wheel = { event, dx, dy };
    [touch.x, touch.y] = [event.clientX, event.clientY];
    this.#soon();
  }

  #tap(event) {
    const touch = this.#touch;
    this.#touch = null;
    this.#flush();
    if (touch?.id !== event.pointerId || touch.scrolls) return;
    this.#mouse("move", event);
    this.#press({ button: 0, clientX: event.clientX, clientY: event.clientY, timeStamp: event.timeStamp });
    this.#mouse("up", event, { button: "left", clicks: this.#last.clicks });
  }

  /** Sends moves and turns of the wheel at most once per frame, the newest place and the sum. */
  #soon() {
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const [move, wheel] = [this.#move, this.#wheel];
    this.#move = this.#wheel = null;
    if (move) this.#mouse("move", move);
    if (wheel) this.#mouse("wheel", wheel.event, { dx: wheel.dx, dy: wheel.dy });
  }

  #mouse(action, event, more = {}) {
    const { left, top } = this.#canvas.getBoundingClientRect();
    const scale = this.#scale();
    const x = (event.clientX - left) * scale;
    const y = (event.clientY - top) * scale;
    this.#send({ type: "mouse", action, x, y, modifiers: modifiers(event), ...more });
  }

  #scale() {
    return this.#size.width / (this.#canvas.getBoundingClientRect().width || 1);
  }
}

function near(place, x, y) {
  return Math.hypot(place.x - x, place.y - y) < NEAR_PX;
}
