// Every Chrome and ChromeDriver on the machine as trees, coloured by verdict, with the reason.

import { byId, setData, setLabel, setText, show, stamp } from "./dom.js";
import { KeyedList } from "./keyed_list.js";
import { grouped, isWarm } from "./process_grouping.js";
import { VERDICT, ago, counted, duration, megabytes, role, secondsSince } from "./words.js";

const OLD_S = 12;

export function processTrees() {
  const list = new KeyedList(byId("process-trees"), tree);
  const buttons = [...document.querySelectorAll("#processes .choice button")];
  let wanted = "";
  let latest = null;

  const view = (state) => {
    latest = state;
    const trees = grouped(state.processes);
    for (const button of buttons) {
      const verdict = button.dataset.verdict;
      const fitting = [...state.processes.values()].filter((process) => !verdict || process.verdict === verdict);
      setText(button.querySelector("span"), String(fitting.length));
    }
    const shown = trees.filter(({ rows }) => !wanted || rows.some(({ process }) => process.verdict === wanted));
    list.show(shown.map((found) => [found.key, found]));
    show(byId("no-processes"), shown.length === 0);
    tick();
  };
  const tick = () => {
    if (!latest?.processesReadAt) return;
    const age = secondsSince(latest.processesReadAt);
    setText(byId("processes-age"), age < OLD_S ? `read ${ago(latest.processesReadAt)}` : `OUTDATED: read ${ago(latest.processesReadAt)}`);
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      wanted = button.dataset.verdict;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      if (latest) view(latest);
    });
  }
  return { view, tick };
}

/** Returns the title of a tree. */
export function titleOf(tree) {
  const { sessionId, root, rows } = tree;
  if (isWarm(tree)) return `Warm browser, PID ${root.pid}`;
  if (sessionId !== null) return `Session ${sessionId}`;
  if (root.role === "driver") return `ChromeDriver, PID ${root.pid}`;
  if (root.role === "browser") return `Browser ${root.name}, PID ${root.pid}`;
  return `Without a browser: ${root.name}, PID ${root.pid}${rows.length > 1 ? ` and ${rows.length - 1} more` : ""}`;
}

function tree(first) {
  const { element, parts } = stamp("process-tree");
  const rows = new KeyedList(parts.rows, processRow);
  let latest = first;
  // Rows are created when the tree is opened: of a thousand processes, few are ever viewed.
  const fill = () => {
    if (element.open) rows.show(latest.rows.map((row) => [row.process.pid, { ...row, treeReason: latest.root.reason }]));
  };
  element.addEventListener("toggle", fill);
  element.open = first.verdict === "orphan";

  const update = (now) => {
    latest = now;
    setData(element, "verdict", now.verdict);
    setData(parts.verdict, "verdict", now.verdict);
    setText(parts.verdict, VERDICT[now.verdict]);
    setText(parts.title, titleOf(now));
    setText(parts.caption, `Processes of ${titleOf(now)}`);
    setLabel(parts.frame, `Table: ${titleOf(now)}`);
    setText(parts.numbers, `${counted(now.rows.length, "process", "processes")}, ${megabytes(now.memoryMb)}`);
    setText(parts.reason, now.root.reason);
    fill();
  };
  return { element, update };
}

function processRow() {
  const { element, parts } = stamp("process-row");
  const update = ({ process, depth, treeReason }) => {
    setText(parts.name, `${process.name} (${role(process.role)})`);
    setData(parts.name, "depth", String(Math.min(depth, 5)));
    setText(parts.pid, String(process.pid));
    setText(parts.verdict, VERDICT[process.verdict]);
    setData(parts.verdict, "verdict", process.verdict);
    setText(parts.memory, process.memory_mb === null ? "–" : megabytes(process.memory_mb));
    setText(parts.age, duration((Date.now() - process.bornMs) / 1000));
    setText(parts.reason, process.reason === treeReason ? "as above" : process.reason);
  };
  return { element, update };
}
