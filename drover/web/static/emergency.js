// Emergency recovery, behind a dialog that lists what would be ended and requires a typed word.

import { call } from "./api.js";
import { busyWhile, byId, closable, notice, setText, show, stamp } from "./dom.js";
import { grouped, hasBrowser, isWarm } from "./process_grouping.js";
import { titleOf } from "./process_trees.js";
import { counted, duration, megabytes } from "./words.js";

const WORD = "EMERGENCY";

export function emergencyButton() {
  const dialog = closable(byId("emergency-dialog"));
  const word = byId("emergency-word");
  byId("emergency").addEventListener("click", (event) => busyWhile(event.currentTarget, async () => {
    try {
      const { processes } = await call("GET", "/processes");
      listTargets(processes);
    } catch (error) {
      notice(`The browsers could not be listed: ${error.message}`, "bad");
      return;
    }
    word.value = "";
    setText(byId("emergency-error"), "");
    dialog.showModal();
    word.focus();
  }));
  word.addEventListener("input", () => setText(byId("emergency-error"), ""));
  byId("emergency-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (word.value.trim().toUpperCase() !== WORD) {
      setText(byId("emergency-error"), `Nothing was done. Type ${WORD} first, or press Escape.`);
      word.focus();
      return;
    }
    busyWhile(byId("emergency-go"), () => endEverything(dialog));
  });
}

async function endEverything(dialog) {
  try {
    const answer = await call("POST", "/emergency_recovery");
    dialog.close();
    notice(`${answer.message}.${answer.failed.length ? ` ${answer.failed.length} could not be ended.` : ""}`, answer.success ? "warn" : "bad");
  } catch (error) {
    setText(byId("emergency-error"), error.message);
  }
}

/** Lists what would be ended: foreign browsers and the operator's own first, since those are unexpected. */
function listTargets(processes) {
  const rows = new Map(processes.map((process) => [process.pid, process]));
  const trees = grouped(rows).filter(hasBrowser);
  const of = (verdict) => trees.filter((tree) => tree.verdict === verdict);
  const ours = of("protected").filter(({ sessionId }) => sessionId !== null);
  show(byId("emergency-instead"), of("orphan").length > 0);
  byId("emergency-list").replaceChildren(
    ...group("Not Drover’s: your own Chrome and those of other programs", of("foreign")),
    ...group("Open sessions", ours.filter((tree) => !isWarm(tree))),
    ...group("Sessions of another Drover on this machine", of("protected").filter(({ sessionId }) => sessionId === null)),
    ...group("Warm browsers", ours.filter(isWarm)),
    ...group("Orphans", of("orphan")),
    ...(trees.length ? [] : group("No Chrome is running on this machine", [], true)),
  );
}

function group(title, trees, always = false) {
  if (!trees.length && !always) return [];
  const { element, parts } = stamp("doomed");
  setText(parts.title, trees.length ? `${title} (${trees.length})` : title);
  parts.list.replaceChildren(...trees.map(doomed));
  return [element];
}

function doomed(tree) {
  const { element, parts } = stamp("doomed-row");
  setText(parts.name, titleOf(tree));
  const numbers = [counted(tree.rows.length, "process", "processes"), megabytes(tree.memoryMb), `${duration(tree.root.age_s)} old`];
  setText(parts.numbers, numbers.join(", "));
  return element;
}
