// The few ways in which this page touches its document. Texts of strangers pass through `setText` only.

export const byId = (id) => document.getElementById(id);

/** Copies a <template>, and gives the copy with its parts by the names in `data-part`. */
export function stamp(templateId) {
  const element = byId(templateId).content.firstElementChild.cloneNode(true);
  const parts = {};
  if (element.dataset.part) parts[element.dataset.part] = element;
  for (const part of element.querySelectorAll("[data-part]")) parts[part.dataset.part] = part;
  return { element, parts };
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setData(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

export function setLabel(element, text) {
  if (element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Shows an address; only http and https become a link, and one that tells its target nothing of us. */
export function setAddress(node, address) {
  if (node.dataset.address === address) return;
  node.dataset.address = address;
  if (!/^https?:\/\//i.test(address)) {
    node.textContent = address;
    return;
  }
  const link = document.createElement("a");
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.textContent = address;
  node.replaceChildren(link);
}

/** Says something for a few seconds, to the eye and to a screen reader. */
export function notice(text, tone = "quiet") {
  const { element } = stamp("notice");
  element.textContent = text;
  element.dataset.tone = tone;
  byId("notices").append(element);
  setTimeout(() => element.remove(), 8000);
}

/** Lets the buttons marked `data-close` close their dialog; Escape does so by itself. */
export function closable(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => dialog.close());
  }
  return dialog;
}

/** Runs an action while its button says that it is under way, and cannot be pressed again. */
export async function busyWhile(button, action) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  button.classList.add("busy");
  try {
    await action();
  } finally {
    button.removeAttribute("aria-disabled");
    button.classList.remove("busy");
  }
}
