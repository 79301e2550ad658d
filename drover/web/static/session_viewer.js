// The large view of one session: its page live, and in control also mouse, keyboard and address.

import { byId, fact, setData, setText, show } from "./dom.js";
import { PageDialogs } from "./page_dialogs.js";
import { PageKeyboard } from "./page_keyboard.js";
import { PagePointer } from "./page_pointer.js";
import { Screen, ViewSocket } from "./view_socket.js";
import { ago, condition, megabytes, user } from "./words.js";

const KEEP_MS = 20_000;
const FORGOTTEN_MS = 600_000;

export class SessionViewer {
  #dialog = byId("viewer");
  #note = byId("viewer-note");
  #address = byId("page-address");
  #screen = new Screen(byId("viewer-live"));
  #socket = new ViewSocket({
    message: (message) => this.#take(message),
    picture: (blob) => this.#screen.draw(blob),
    lost: () => this.#lose(),
  });
  #send = (message) => {
    this.#usedAt = Date.now();
    this.#socket.send(message);
  };
  #dialogs = new PageDialogs(this.#send, () => this.#focusPage(), (text) => setText(this.#note, text));
  #keyboard = new PageKeyboard(byId("page-keys"), this.#send, { leave: () => this.#address.select(), copy: () => this.#copy() });
  #pointer = new PagePointer(byId("stage"), byId("viewer-live"), this.#send, (...place) => this.#pressed(...place));
  #pictures;
  #sessionId = null;
  #session = null;
  #url = null;
  #control = { you: false, by: null };
  #question = null;
  #copied = null;
  #usedAt = 0;

  constructor(pictures) {
    this.#pictures = pictures;
    byId("viewer-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#end());
    // Escape belongs to the page while its keyboard is used.
    this.#dialog.addEventListener("cancel", (event) => {
      if (document.activeElement === byId("page-keys")) event.preventDefault();
    });
    document.addEventListener("visibilitychange", () => this.#follow());
    byId("control-take").addEventListener("click", () => this.#send({ type: "control", take: true }));
    byId("control-give").addEventListener("click", () => this.#send({ type: "control", take: false }));
    byId("page-bar").addEventListener("submit", (event) => this.#go(event));
    for (const way of ["back", "forward", "reload"]) {
      byId(`page-${way}`).addEventListener("click", () => this.#send({ type: way }));
    }
    byId("page-copy").addEventListener("click", () => this.#copy());
    byId("page-text").addEventListener("click", () => this.#dialogs.enterText());
    byId("page-keyboard").addEventListener("click", () => this.#keyboard.focus());
    byId("stage").addEventListener("click", () => {
      if (!this.#control.you) setText(this.#note, "You are only watching. Press “Take control” to use the page.");
    });
    setInterval(() => this.#keepControl(), KEEP_MS);
  }

  /** Opens the large view of a session. */
  open(session) {
    this.#sessionId = session.session_id;
    this.#url = null;
    setText(byId("viewer-title"), session.session_id);
    setText(this.#note, "");
    this.#address.value = session.current_url ?? "";
    this.#screen.clear();
    this.#pictures.pause(true);
    this.#show(session);
    this.#setControl({ you: false, by: null });
    this.#dialog.showModal();
    this.#follow();
  }

  /** Updates the facts about the session. */
  view({ sessions }) {
    if (this.#sessionId === null) return;
    const session = sessions.get(this.#sessionId);
    if (session) {
      this.#show(session);
    } else {
      this.#sessionId = null;
      this.#follow();
      this.#setControl({ you: false, by: null });
      show(byId("control-take"), false);
      setText(this.#note, "This session is closed.");
    }
  }

  #show(session) {
    this.#session = session;
    const [word, tone] = condition(session);
    setText(byId("viewer-health"), word);
    setData(byId("viewer-health"), "tone", tone);
    const facts = [
      ["Address", this.#url ?? session.current_url ?? "no page yet"],
      ["Health", session.health.reason ?? word],
      ["In use by", this.#user(session)],
      ["Last used", ago(session.last_used)],
      ["Memory", megabytes(session.memory_mb)],
      ["ChromeDriver", session.driver ? `PID ${session.driver.pid} at ${session.driver.url}` : "none"],
      ["Browser", session.browser ? `PID ${session.browser.pid}, DevTools at ${session.browser.debugger_address}` : "none"],
    ];
    byId("viewer-facts").replaceChildren(...facts.map(fact));
    this.#advise();
  }

  #user(session) {
    const { you, by } = this.#control;
    if (session.lease || by === null) return user(session);
    return you ? "you, by hand" : `${by || "another person"}, by hand`;
  }

  #take(message) {
    const takers = {
      page: ({ url, width, height }) => {
        this.#pointer.size = { width, height };
        if (document.activeElement !== this.#address) this.#address.value = url;
        this.#url = url;
        this.#show(this.#session);
      },
      control: (control) => this.#setControl(control),
      dialog: (question) => {
        this.#question = question;
        this.#ask();
      },
      dialog_closed: () => {
        this.#question = null;
        this.#dialogs.withdrawQuestion();
        setText(this.#note, "");
      },
      select: (list) => this.#dialogs.choose(list),
      file_chooser: (chooser) => this.#dialogs.askFiles(chooser),
      copied: ({ text }) => this.#copied?.(text),
      stream: ({ live }) => setText(this.#note, live ? "" : "No picture now. Waiting for the browser."),
      error: ({ error }) => setText(this.#note, error),
    };
    takers[message.type]?.(message);
  }

  #setControl(control) {
    const before = this.#control.you;
    this.#control = control;
    const { you, by } = control;
    const words = you ? ["You are in control", "good"] : by === null ? ["View only", "quiet"] : [`${by || "Another person"} is in control`, "warn"];
    setText(byId("control-sign"), words[0]);
    setData(byId("control-sign"), "tone", words[1]);
    setData(this.#dialog, "control", you ? "you" : by === null ? "nobody" : "other");
    show(byId("control-take"), !you);
    show(byId("control-give"), you);
    show(byId("page-bar"), you);
    byId("page-keys").disabled = !you;
    this.#pointer.active = you;
    if (this.#session) this.#show(this.#session);
    if (you && !before) {
      setText(this.#note, "");
      this.#focusPage();
      this.#ask();
    } else if (!you && before) {
      this.#dialogs.withdraw();
      byId("control-take").focus();
    }
  }

  #advise() {
    const { you } = this.#control;
    const program = this.#session?.lease ? `${user(this.#session)} uses this page as well. ` : "";
    const how = isTouched() ? "Tap into the page. “Keyboard” opens the keyboard." : "Click into the page to type. F6 leads back to this bar.";
    setText(byId("control-advice"), program + (you ? how : ""));
  }

  /** Shows the dialog of the page, for whoever may answer it. */
  #ask() {
    if (this.#question === null) return;
    if (this.#control.you) this.#dialogs.ask(this.#question);
    else setText(this.#note, `The page shows a dialog: “${this.#question.message}” Take control to answer it.`);
  }

  #pressed(x, y, kind) {
    const keys = byId("page-keys").style;
    keys.setProperty("--caret-x", `${Math.max(0, x)}px`);
    keys.setProperty("--caret-y", `${Math.max(0, y)}px`);
    // On a phone every tap would open the keyboard.
    if (kind !== "touch") this.#keyboard.focus();
  }

  #focusPage() {
    if (this.#control.you && this.#dialog.open && !isTouched()) this.#keyboard.focus();
  }

  #go(event) {
    event.preventDefault();
    const typed = this.#address.value.trim();
    if (!typed) return;
    this.#send({ type: "navigate", url: /^[a-z][a-z0-9+.-]*:\/\//i.test(typed) ? typed : `https://${typed}` });
    this.#focusPage();
  }

  /** Copies the text that is selected in the page; without access to the clipboard it is shown. */
  async #copy() {
    const text = new Promise((resolve) => (this.#copied = resolve));
    this.#send({ type: "copy" });
    let written = null;
    try {
      // Browsers allow this only at once, when the key or button is pressed, so the text comes as a promise.
      const content = text.then((known) => new Blob([known], { type: "text/plain" }));
      written = navigator.clipboard.write([new ClipboardItem({ "text/plain": content })]);
      await written;
    } catch {
      written = null;
    }
    const known = await text;
    if (!known) setText(this.#note, "No text is selected in the page.");
    else if (written) setText(this.#note, `Copied: ${known.length > 60 ? `${known.slice(0, 60)}…` : known}`);
    else this.#dialogs.showCopied(known);
  }

  /** Keeps control while the person only reads, such as a code on a phone, but not in a forgotten window. */
  #keepControl() {
    if (this.#control.you && Date.now() - this.#usedAt < FORGOTTEN_MS) this.#socket.send({ type: "control", take: true });
  }

  #lose() {
    if (this.#sessionId === null) return;
    // It is announced again if it is still open.
    this.#question = null;
    this.#setControl({ you: false, by: null });
    setText(this.#note, "No live picture now. Retrying automatically.");
  }

  /** Connects while the view is shown. In control it stays connected in the background: a code may be in a mail. */
  #follow() {
    if (this.#sessionId !== null && document.hidden && this.#control.you) return;
    if (this.#sessionId === null || document.hidden) {
      this.#socket.close();
    } else if (!this.#control.you) {
      this.#question = null;
      this.#socket.open(this.#sessionId);
    }
  }

  #end() {
    this.#sessionId = null;
    this.#socket.close();
    this.#dialogs.withdraw();
    this.#question = null;
    this.#control = { you: false, by: null };
    this.#pictures.pause(false);
  }
}

function isTouched() {
  return matchMedia("(pointer: coarse)").matches;
}
