// The machines of the service: whether each lives, and how much it has left. One machine alone is not shown.

import { byId, setAddress, setData, setLabel, setText, show, stamp } from "./dom.js";
import { fill } from "./figures.js";
import { KeyedList } from "./keyed_list.js";
import { ago, counted, heldMb, megabytes } from "./words.js";

const STATE = { up: ["Up", "good"], draining: ["Draining", "warn"], lost: ["Lost", "bad"] };

export function nodesView() {
  const list = new KeyedList(byId("node-rows"), nodeRow);
  return ({ capacity, sessions }) => {
    if (!capacity) return;
    const { nodes } = capacity;
    show(byId("nodes"), nodes.length > 0);
    const living = nodes.filter(({ state }) => state !== "lost").length;
    setText(byId("nodes-note"), `${living} of ${counted(nodes.length, "machine")} can be reached`);
    const held = (node) => [...sessions.values()].filter((session) => session.node?.name === node.name);
    list.show(nodes.map((node) => [node.name, { node, sessions: held(node) }]));
  };
}

function nodeRow({ node: { name } }) {
  const { element, parts } = stamp("node-row");
  setLabel(parts.meter, `Sessions used on ${name}`);
  const update = ({ node, sessions }) => {
    const [word, tone] = STATE[node.state];
    const isLost = node.state === "lost";
    setText(parts.name, node.is_this ? `${name} (this one)` : name);
    setText(parts.state, isLost ? `${word}, last seen ${ago(node.seen_at)}` : word);
    setData(parts.state, "tone", tone);
    setData(element, "tone", tone);
    setAddress(parts.address, node.url);
    const count = isLost ? sessions.length : node.sessions;
    setText(parts.sessions, isLost ? `${count} to be restored` : `${count} of ${node.max_sessions}`);
    setText(parts.free, node.state === "up" ? String(Math.max(node.max_sessions - count, 0)) : "none");
    setText(parts.held, isLost ? "–" : megabytes(heldMb(sessions)));
    setText(parts.available, isLost || node.memory_available_mb === null ? "–" : megabytes(node.memory_available_mb));
    show(parts.meter, !isLost);
    fill(parts.meter, count, node.max_sessions);
  };
  return { element, update };
}
