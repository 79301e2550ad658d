// From a list of processes to trees: one a session, and one for whatever else was started together. Pure.

const RANK = { orphan: 0, foreign: 1, protected: 2 };

const MAINS = ["driver", "browser"];

/**
 * Groups processes.
 *
 * A session's processes stand together, also those that the system has given another parent. Helpers without a
 * browser above them, such as crash reporters, stand with what has the same reason. Gives `[{key, sessionId,
 * verdict, root, rows: [{process, depth}], memoryMb}]`: what is to be ended first, then what is foreign, then
 * what is protected.
 */
export function grouped(processes) {
  const children = new Map();
  const roots = [];
  for (const process of processes.values()) {
    const parent = parentOf(process, processes);
    if (parent) children.set(parent.pid, [...(children.get(parent.pid) ?? []), process]);
    else roots.push(process);
  }
  const mains = roots.filter(isMain);
  const byReason = new Map(mains.map((root) => [root.reason, `pid ${root.pid}`]));
  const trees = new Map();
  for (const root of [...mains, ...roots.filter((root) => !isMain(root))]) {
    const key = keyOf(root, byReason);
    const tree = trees.get(key) ?? { key, sessionId: root.session_id, root, verdict: root.verdict, rows: [], memoryMb: 0 };
    trees.set(key, tree);
    if (root.role === "driver") tree.root = root;
    collect(tree, root, 0, children);
  }
  return [...trees.values()].sort((one, other) => RANK[one.verdict] - RANK[other.verdict] || one.root.pid - other.root.pid);
}

/** Tells whether something that a person would miss stands at the top of a tree. */
export const hasBrowser = (tree) => tree.rows.some(({ process }) => isMain(process));

/** Tells whether a tree is a browser of this Drover that is nobody's session yet. */
export const isWarm = ({ sessionId }) => sessionId?.startsWith("warm:") ?? false;

function isMain(process) {
  return MAINS.includes(process.role);
}

function keyOf(root, byReason) {
  if (root.session_id !== null) return `session ${root.session_id}`;
  if (isMain(root)) return `pid ${root.pid}`;
  return byReason.get(root.reason) ?? `reason ${root.reason}`;
}

function parentOf(process, processes) {
  const parent = processes.get(process.ppid);
  return parent && parent.pid !== process.pid && parent.session_id === process.session_id ? parent : undefined;
}

function collect(tree, process, depth, children) {
  tree.rows.push({ process, depth });
  tree.memoryMb += process.memory_mb ?? 0;
  if (RANK[process.verdict] < RANK[tree.verdict]) tree.verdict = process.verdict;
  for (const child of children.get(process.pid) ?? []) collect(tree, child, depth + 1, children);
}
