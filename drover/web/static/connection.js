// Shows whether the page is up to date: the pill at the top, and a banner when the connection is lost.

import { byId, setData, setText } from "./dom.js";
import { clock } from "./words.js";

const WORD = { live: ["Live", "good"], lost: ["Not connected", "bad"], paused: ["Paused", "quiet"] };
const BACK_MS = 6000;

export function connectionView(lastHeard) {
  const banner = byId("connection");
  let lost = false;
  let timer = 0;
  const setBanner = (text, tone) => {
    clearTimeout(timer);
    setText(banner, text);
    setData(banner, "tone", tone);
  };
  return (link) => {
    const [word, tone] = WORD[link];
    setText(byId("link"), word);
    setData(byId("link"), "tone", tone);
    setData(document.body, "link", link);
    if (link === "lost" && !lost) {
      lost = true;
      const since = lastHeard() ? ` This page shows the state of ${clock(lastHeard())}.` : "";
      setBanner(`The connection to Drover is lost.${since} Reconnecting automatically.`, "bad");
    } else if (link === "live" && lost) {
      lost = false;
      setBanner("Connected again. This page is up to date.", "good");
      timer = setTimeout(() => setText(banner, ""), BACK_MS);
    }
  };
}
