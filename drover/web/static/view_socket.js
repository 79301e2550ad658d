// The WebSocket of a session's view: it reconnects until it is closed, and shows each picture on a canvas.

import { address } from "./api.js";

const RETRY_MS = 2000;
const SESSION_ENDED = 1000;

export class ViewSocket {
  #socket = null;
  #path = null;
  #timer = 0;
  #handlers;

  /** @param handlers `{message, picture, lost}`, called with a message, with a JPEG blob, and without anything */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  open(sessionId) {
    this.close();
    this.#path = `/sessions/${encodeURIComponent(sessionId)}/view`;
    this.#connect();
  }

  close() {
    this.#path = null;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = null;
  }

  send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #connect() {
    const target = address(this.#path);
    target.protocol = target.protocol.replace("http", "ws");
    const socket = new WebSocket(target);
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.#socket) return;
      if (typeof data === "string") this.#handlers.message(JSON.parse(data));
      else this.#handlers.picture(data);
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      this.#handlers.lost();
      if (code !== SESSION_ENDED) this.#timer = setTimeout(() => this.#connect(), RETRY_MS);
    });
  }
}

/** Draws pictures on a canvas; if they arrive faster than they are decoded, the newest one is drawn. */
export class Screen {
  #canvas;
  #next = null;
  #drawing = false;
  #cleared = 0;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  clear() {
    this.#next = null;
    this.#cleared += 1;
    this.#canvas.width = this.#canvas.height = 0;
  }

  async draw(blob) {
    this.#next = blob;
    if (this.#drawing) return;
    this.#drawing = true;
    while (this.#next) {
      const [coming, cleared] = [this.#next, this.#cleared];
      this.#next = null;
      // A picture that cannot be decoded is left out; the next one comes soon.
      const picture = await createImageBitmap(coming).catch(() => null);
      if (picture && cleared === this.#cleared) this.#show(picture);
      picture?.close();
    }
    this.#drawing = false;
  }

  #show(picture) {
    const { width, height } = picture;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
      this.#canvas.parentElement.style.setProperty("--ratio", width / height);
    }
    this.#canvas.getContext("2d").drawImage(picture, 0, 0);
  }
}
