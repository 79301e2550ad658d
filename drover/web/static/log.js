// The end of the log. New lines scroll into view unless the user has scrolled up.

import { byId, setData, setText, stamp } from "./dom.js";
import { KeyedList } from "./keyed_list.js";
import { clock } from "./words.js";

const NEAR_END_PX = 24;

export function logView() {
  const box = byId("log-lines");
  const serious = byId("log-serious");
  const list = new KeyedList(box, logLine);
  let latest = [];

  const view = ({ lines }) => {
    latest = lines;
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
    const shown = serious.checked ? lines.filter(({ level }) => level !== "info" && level !== "debug") : lines;
    list.show(shown.map((line) => [line.number, line]));
    if (follows) box.scrollTop = box.scrollHeight;
  };
  serious.addEventListener("change", () => view({ lines: latest }));
  return view;
}

function logLine() {
  const { element, parts } = stamp("log-line");
  const update = (line) => {
    setData(element, "level", line.level);
    parts.time.dateTime = line.time;
    setText(parts.time, clock(line.time));
    setText(parts.level, line.level.toUpperCase());
    setText(parts.message, line.message);
  };
  return { element, update };
}
