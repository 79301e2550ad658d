// Groups a list of processes into trees: one per session, and one per other group that belongs together. Pure.

const RANK = { orphan: 0, foreign: 1, protected: 2 };

const MAINS = ["driver", "browser"];

/**
 * Groups processes.
 *
 * A session's processes are in one tree, including those that were re-parented. Helpers without a browser above
 * them, such as crash reporters, join the tree with the same reason. Returns `[{key, sessionId, verdict, root,
 * rows: [{process, depth}], memoryMb}]`: orphans first, then foreign, then protected.
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

/** Returns whether a tree contains a browser or a ChromeDriver. */
export const hasBrowser = (tree) => tree.rows.some(({ process }) => isMain(process));

/** Returns whether a tree is a warm browser, which is not handed out yet. */
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
