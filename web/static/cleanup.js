// Clean up orphans, its dry run, and the report of either.

import { call } from "./api.js";
import { busyWhile, byId, notice, setLabel, setText, show, stamp } from "./dom.js";
import { VERDICT, counted, megabytes, milliseconds, role } from "./words.js";

const PATH = "/cleanup_orphaned_processes";

export function cleanupButtons(state) {
  const run = (button, dryRun) => busyWhile(button, async () => {
    try {
      const spared = [...state.processes.values()].filter(({ verdict }) => verdict !== "orphan");
      report(await call("POST", dryRun ? `${PATH}?dry_run=true` : PATH), spared);
    } catch (error) {
      notice(`No cleanup: ${error.message}`, "bad");
    }
  });
  byId("clean").addEventListener("click", (event) => run(event.currentTarget, false));
  byId("preview").addEventListener("click", (event) => run(event.currentTarget, true));
  byId("report-go").addEventListener("click", (event) => run(event.currentTarget, false));
}

/** Shows what a cleanup has done, or would do; `spared` are the processes that it leaves alone. */
function report(answer, spared) {
  const would = answer.dry_run;
  setText(byId("report-title"), would ? "What a cleanup would do" : "What the cleanup did");
  setText(byId("report-summary"), summary(answer));
  const figures = [
    [would ? "Would end" : "Ended", counted(answer.killed.length, "process", "processes")],
    ["Failed", answer.failed.length ? counted(answer.failed.length, "process", "processes") : "none"],
    ["Spared", `${answer.spared.protected} protected, ${answer.spared.foreign} foreign`],
    ["Profiles", `${answer.removed_profiles} ${would ? "would go" : "removed"}`],
    ["Memory", `${megabytes(answer.freed_mb)} ${would ? "would come free" : "freed"}`],
    ["Took", milliseconds(answer.duration_ms)],
  ];
  byId("report-figures").replaceChildren(...figures.map(figure));
  byId("report-tables").replaceChildren(
    ...table("Could not be ended – end them by hand", answer.failed, true),
    ...table(would ? "Would be ended" : "Ended", answer.killed, true),
    ...["protected", "foreign"].flatMap((verdict) =>
      table(`Spared: ${VERDICT[verdict].toLowerCase()}`, spared.filter((row) => row.verdict === verdict), false)),
  );
  show(byId("report-go"), would && (answer.killed.length > 0 || answer.removed_profiles > 0));
  if (!byId("report-dialog").open) byId("report-dialog").showModal();
}

function summary({ dry_run: would, killed, failed, removed_profiles: profiles }) {
  if (failed.length) return `${counted(failed.length, "process", "processes")} could not be ended. The reason stands below.`;
  if (!killed.length && !profiles) return would ? "There is nothing to clean up." : "There was nothing to clean up.";
  return would ? "Nothing has been done yet." : "Everything that nobody owned is gone. Nothing else was touched.";
}

function figure([name, value]) {
  const { element, parts } = stamp("fact");
  setText(parts.name, name);
  setText(parts.value, value);
  return element;
}

function table(title, rows, open) {
  if (!rows.length) return [];
  const { element, parts } = stamp("report-table");
  element.open = open;
  setText(parts.title, `${title} (${rows.length})`);
  setText(parts.caption, title);
  setLabel(parts.frame, title);
  parts.rows.replaceChildren(...rows.map(reportRow));
  return [element];
}

function reportRow(row) {
  const { element, parts } = stamp("report-row");
  setText(parts.name, `${row.name} (${role(row.role)})`);
  setText(parts.pid, String(row.pid));
  setText(parts.reason, row.reason);
  return element;
}
