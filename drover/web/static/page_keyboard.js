// Keys, composed characters and pasted text for a page, as messages of the view. Keys that write a character by
// themselves are sent as keys. What is composed by dead keys, input methods, emoji panels or a phone's keyboard
// arrives in a hidden field, and is sent as text.

const COMPOSES = new Set(["Dead", "Process", "Unidentified"]);
const NOTHING = "\u200b"; // Without it, a phone's keyboard has nothing to delete, and says nothing.

export class PageKeyboard {
  #field;
  #send;
  #down = new Map();

  /**
   * @param field the hidden field
   * @param send sends a message
   * @param actions `{leave, copy}`, called when the person wants to leave the page, or to copy its text
   */
  constructor(field, send, { leave, copy }) {
    this.#field = field;
    this.#send = send;
    field.addEventListener("keydown", (event) => {
      const shortcut = event.ctrlKey !== event.metaKey && !event.altKey && event.key.toLowerCase();
      if (composes(event) || shortcut === "v") return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "F6") {
        leave();
        return;
      }
      if (shortcut === "c" || shortcut === "x") copy();
      this.#down.set(event.code || event.key, event.key);
      this.#key("down", event);
    });
    field.addEventListener("keyup", (event) => {
      if (!this.#down.delete(event.code || event.key)) return;
      event.preventDefault();
      this.#key("up", event);
      // macOS does not report the release of a key while Command is held.
      if (event.key === "Meta") this.#releaseAll();
    });
    field.addEventListener("blur", () => this.#releaseAll());
    field.addEventListener("compositionend", ({ data }) => this.#text(data));
    field.addEventListener("input", (event) => {
      if (event.isComposing) return;
      if (field.value === "") this.#press("Backspace");
      else this.#text(field.value.replaceAll(NOTHING, ""));
    });
    field.addEventListener("paste", (event) => {
      event.preventDefault();
      this.#send({ type: "text", text: event.clipboardData.getData("text/plain"), pasted: true });
    });
  }

  focus() {
    this.#empty();
    this.#field.focus({ preventScroll: true });
  }

  #key(action, event) {
    this.#send({ type: "key", action, key: event.key, code: event.code, modifiers: modifiers(event) });
  }

  #press(key) {
    this.#key("down", { key, code: key });
    this.#key("up", { key, code: key });
  }

  #text(text) {
    if (text) this.#send({ type: "text", text });
    this.#empty();
  }

  #empty() {
    this.#field.value = NOTHING;
  }

  #releaseAll() {
    for (const [code, key] of this.#down) this.#key("up", { key, code });
    this.#down.clear();
  }
}

/** Returns the modifiers of an event by their names. */
export function modifiers(event) {
  const held = { Alt: event.altKey, Control: event.ctrlKey, Meta: event.metaKey, Shift: event.shiftKey };
  return Object.keys(held).filter((name) => held[name]);
}

function composes(event) {
  return event.isComposing || COMPOSES.has(event.key) || event.keyCode === 229;
}
