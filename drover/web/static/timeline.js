// Recent events, newest first.

import { byId, setData, setText, show, stamp } from "./dom.js";
import { KeyedList } from "./keyed_list.js";
import { clock } from "./words.js";

const KIND = {
  start: "Start",
  end: "End",
  eviction: "Eviction",
  recovery: "Recovery",
  cleanup: "Cleanup",
  emergency: "Emergency",
  service: "Service",
  trouble: "Trouble",
};

export function timelineView() {
  const list = new KeyedList(byId("moments"), moment);
  return ({ moments }) => {
    list.show([...moments].reverse().map((entry) => [entry.number, entry]));
    show(byId("no-moments"), moments.length === 0);
  };
}

function moment() {
  const { element, parts } = stamp("moment");
  const update = (entry) => {
    setData(element, "kind", entry.kind);
    setData(element, "level", entry.level);
    parts.time.dateTime = entry.time;
    parts.time.title = new Date(entry.time).toLocaleString();
    setText(parts.time, clock(entry.time));
    setText(parts.kind, KIND[entry.kind] ?? entry.kind);
    setText(parts.text, entry.text);
    setText(parts.session, entry.session_id ?? "");
    show(parts.session, entry.session_id !== null);
  };
  return { element, update };
}
