// All changes to the document go through these functions. Untrusted text passes through `setText` only.

export const byId = (id) => document.getElementById(id);

/** Copies a <template> and returns the copy, with its parts by their names in `data-part`. */
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

/** Shows an address; only http and https become a link, which sends no referrer to its target. */
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

/** Shows a message for a few seconds; screen readers announce it. */
export function notice(text, tone = "quiet") {
  const { element } = stamp("notice");
  element.textContent = text;
  element.dataset.tone = tone;
  byId("notices").append(element);
  setTimeout(() => element.remove(), 8000);
}

/** Returns a fact with its name, for a list of facts. */
export function fact([name, value]) {
  const { element, parts } = stamp("fact");
  setText(parts.name, name);
  setText(parts.value, value);
  return element;
}

/** Makes the buttons with `data-close` close their dialog; Escape works without this. */
export function closable(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => dialog.close());
  }
  return dialog;
}

/** Runs an action, and shows its error; in the meantime its button is marked as busy and ignores clicks. */
export async function busyWhile(button, action) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  button.classList.add("busy");
  try {
    await action();
  } catch (error) {
    notice(error.message, "bad");
  } finally {
    button.removeAttribute("aria-disabled");
    button.classList.remove("busy");
  }
}
