// Cleanup of orphans, its dry run, and the report of either.

import { call } from "./api.js";
import { busyWhile, byId, fact, notice, setLabel, setText, show, stamp } from "./dom.js";
import { VERDICT, counted, megabytes, milliseconds, role } from "./words.js";

const PATH = "/cleanup_orphaned_processes";

export function cleanupButtons() {
  const run = (button, dryRun) => busyWhile(button, async () => {
    try {
      const answer = await call("POST", dryRun ? `${PATH}?dry_run=true` : PATH);
      report(answer, (await call("GET", "/processes")).processes);
    } catch (error) {
      notice(`Cleanup failed: ${error.message}`, "bad");
    }
  });
  byId("clean").addEventListener("click", (event) => run(event.currentTarget, false));
  byId("preview").addEventListener("click", (event) => run(event.currentTarget, true));
  byId("report-go").addEventListener("click", (event) => run(event.currentTarget, false));
}

/** Shows what a cleanup did, or would do; `processes` are those that are running now. */
function report(answer, processes) {
  const would = answer.dry_run;
  setText(byId("report-title"), would ? "What a cleanup would do" : "What the cleanup did");
  setText(byId("report-summary"), summary(answer));
  const figures = [
    [would ? "Would end" : "Ended", counted(answer.killed.length, "process", "processes")],
    ["Failed", answer.failed.length ? counted(answer.failed.length, "process", "processes") : "none"],
    ["Spared", `${answer.spared.protected} protected, ${answer.spared.foreign} foreign`],
    ["Profiles", `${answer.removed_profiles} ${would ? "would be removed" : "removed"}`],
    ["Memory", `${megabytes(answer.freed_mb)} ${would ? "would be freed" : "freed"}`],
    ["Duration", milliseconds(answer.duration_ms)],
  ];
  byId("report-figures").replaceChildren(...figures.map(fact));
  byId("report-tables").replaceChildren(
    ...table("Could not be ended – end these manually", answer.failed, true),
    ...table(would ? "Would be ended" : "Ended", answer.killed, true),
    ...["protected", "foreign"].flatMap((verdict) =>
      table(`Spared: ${VERDICT[verdict].toLowerCase()}`, processes.filter((row) => row.verdict === verdict), false)),
  );
  show(byId("report-go"), would && (answer.killed.length > 0 || answer.removed_profiles > 0));
  if (!byId("report-dialog").open) byId("report-dialog").showModal();
}

function summary({ dry_run: would, killed, failed, removed_profiles: profiles }) {
  if (failed.length) return `${counted(failed.length, "process", "processes")} could not be ended. See the reasons below.`;
  if (!killed.length && !profiles) return would ? "There is nothing to clean up." : "There was nothing to clean up.";
  return would ? "Nothing has been done yet." : "All orphans are gone. Nothing else was touched.";
}

function table(title, rows, open) {
  if (!rows.length) return [];
  const { element, parts } = stamp("report-table");
  element.open = open;
  setText(parts.title, `${title} (${rows.length})`);
  setText(parts.caption, title);
  setLabel(parts.frame, title);
  parts.rows.replaceChildren(...rows.map((row, place) => reportRow(row, rows[place - 1])));
  return [element];
}

function reportRow(row, before) {
  const { element, parts } = stamp("report-row");
  setText(parts.name, `${row.name} (${role(row.role)})`);
  setText(parts.pid, String(row.pid));
  setText(parts.reason, row.reason === before?.reason ? "as above" : row.reason);
  return element;
}
