// What a page shows outside of its picture, as dialogs of this page: its dialogs, lists and file choosers; and the
// field for text that cannot be typed or pasted.

import { byId, setText, show } from "./dom.js";

const LARGEST_LIST = 12;
const MAX_FILE_MB = 128;
const TITLE = { alert: "The page says", confirm: "The page asks", prompt: "The page asks" };

/** Shows a modal dialog; `done` is called with the value of the button that closed it, or an empty text. */
class Modal {
  #dialog;
  #done = null;

  constructor(id) {
    this.#dialog = byId(id);
    this.#dialog.addEventListener("close", () => {
      const done = this.#done;
      this.#done = null;
      done?.(this.#dialog.returnValue);
    });
  }

  show(done) {
    this.#done = done;
    this.#dialog.returnValue = "";
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** Closes it without an answer. */
  withdraw() {
    this.#done = null;
    this.#dialog.close();
  }
}

export class PageDialogs {
  #send;
  #finished;
  #note;
  #asks = new Modal("page-dialog");
  #list = new Modal("list-dialog");
  #files = new Modal("files-dialog");
  #text = new Modal("text-dialog");

  /**
   * @param send sends a message
   * @param finished called when a dialog was answered
   * @param note shows a text to the person
   */
  constructor(send, finished, note) {
    this.#send = send;
    this.#finished = finished;
    this.#note = note;
    byId("list-options").addEventListener("click", ({ target }) => {
      if (target instanceof HTMLOptionElement && !target.disabled) byId("list-dialog").close("choose");
    });
  }

  /** Shows a dialog of the page. */
  ask({ kind, message, default: suggested }) {
    const leaves = kind === "beforeunload";
    setText(byId("page-dialog-title"), leaves ? "Leave this page?" : TITLE[kind] ?? "The page asks");
    setText(byId("page-dialog-message"), leaves ? "What you have entered may not be saved." : message);
    setText(byId("page-dialog-accept"), leaves ? "Leave" : "OK");
    setText(byId("page-dialog-dismiss"), leaves ? "Stay" : "Cancel");
    show(byId("page-dialog-dismiss"), kind !== "alert");
    const field = byId("page-dialog-text");
    show(field, kind === "prompt");
    field.value = suggested;
    this.#asks.show((pressed) => {
      const accept = pressed === "accept" || (kind === "alert" && pressed !== "dismiss");
      this.#send({ type: "dialog", accept, ...(kind === "prompt" && accept ? { text: field.value } : {}) });
      this.#finished();
    });
    if (kind === "prompt") field.select();
    else byId("page-dialog-accept").focus();
    // Enter in the field presses the first button of a form, which would be Cancel.
    field.onkeydown = (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      byId("page-dialog").close("accept");
    };
  }

  /** Shows the options of a list of the page. */
  choose({ options }) {
    const list = byId("list-options");
    list.replaceChildren(...grouped(options));
    list.size = Math.max(2, Math.min(LARGEST_LIST, list.querySelectorAll("option, optgroup").length));
    this.#list.show((pressed) => {
      const index = pressed === "choose" && list.value !== "" ? Number(list.value) : null;
      this.#send({ type: "select", index });
      this.#finished();
    });
    list.onkeydown = (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      byId("list-dialog").close("choose");
    };
    list.focus();
  }

  /** Asks the person for files. */
  askFiles({ multiple }) {
    const input = byId("files-input");
    input.value = "";
    input.multiple = multiple;
    setText(byId("files-title"), multiple ? "The page asks for files" : "The page asks for a file");
    setText(byId("files-error"), "");
    this.#files.show(async (pressed) => {
      const chosen = pressed === "send" ? [...input.files] : [];
      const fits = chosen.reduce((sum, file) => sum + file.size, 0) <= MAX_FILE_MB * 1024 * 1024;
      let files = [];
      try {
        if (fits) files = await Promise.all(chosen.map(packed));
        else this.#note(`Nothing was sent: the limit is ${MAX_FILE_MB} MB.`);
      } catch (error) {
        this.#note(`Nothing was sent: a file cannot be read (${error.message}).`);
      }
      this.#send({ type: "files", files });
      this.#finished();
    });
  }

  /** Asks the person for text, and inserts it into the page. */
  enterText() {
    const field = this.#showText("Text for the page", true);
    field.value = "";
    this.#text.show((pressed) => {
      if (pressed === "insert" && field.value) this.#send({ type: "text", text: field.value, pasted: true });
      field.value = "";
      this.#finished();
    });
  }

  /** Shows text that could not be copied into the clipboard. */
  showCopied(text) {
    const field = this.#showText("Text from the page: copy it from here", false);
    field.value = text;
    this.#text.show(() => this.#finished());
    field.select();
  }

  #showText(title, inserts) {
    setText(byId("text-title"), title);
    setText(byId("text-cancel"), inserts ? "Cancel" : "Done");
    show(byId("text-insert"), inserts);
    byId("text-content").readOnly = !inserts;
    return byId("text-content");
  }

  /** Closes what the page has shown, without an answer. */
  withdraw() {
    for (const modal of [this.#asks, this.#list, this.#files]) modal.withdraw();
  }

  withdrawQuestion() {
    this.#asks.withdraw();
  }
}

function grouped(options) {
  const shown = [];
  let group = null;
  options.forEach(({ text, group: label, disabled, selected }, index) => {
    const option = new Option(text, index, selected, selected);
    option.disabled = disabled;
    if (label && group?.label !== label) {
      group = document.createElement("optgroup");
      group.label = label;
      shown.push(group);
    }
    if (label) group.append(option);
    else {
      group = null;
      shown.push(option);
    }
  });
  return shown;
}

function packed(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve({ name: file.name, content: reader.result.split(",")[1] ?? "" }));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}
