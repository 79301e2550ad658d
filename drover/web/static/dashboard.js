// Connects the parts of the page: events update the state, views show the state, buttons call routes.

import { history, questionButtons } from "./answers.js";
import { cleanupButtons } from "./cleanup.js";
import { connectionView } from "./connection.js";
import { emergencyButton } from "./emergency.js";
import { showCapacity, showProcessFigures } from "./figures.js";
import { headlineView } from "./headline.js";
import { logView } from "./log.js";
import { nodesView } from "./nodes.js";
import { Pictures } from "./pictures.js";
import { processTrees } from "./process_trees.js";
import { close, openButton, recover } from "./session_actions.js";
import { sessionCards } from "./session_cards.js";
import { SessionViewer } from "./session_viewer.js";
import { State } from "./state.js";
import { Stream } from "./stream.js";
import { timelineView } from "./timeline.js";

const state = new State();
const pictures = new Pictures((session) => state.isAlive(session));
const viewer = new SessionViewer(pictures);
const cards = sessionCards(pictures, { look: (session) => viewer.open(session), history, recover, close });
const trees = processTrees();

state.watch(["sessions"], cards.view);
state.watch(["sessions"], (now) => viewer.view(now));
state.watch(["processes"], trees.view);
state.watch(["processes"], showProcessFigures);
state.watch(["capacity"], showCapacity);
state.watch(["capacity", "sessions"], nodesView());
state.watch(["sessions", "processes", "capacity"], headlineView());
state.watch(["timeline"], timelineView());
state.watch(["log"], logView());

cleanupButtons();
emergencyButton();
openButton();
questionButtons(state);

const stream = new Stream((kind, data) => state.take(kind, data), connectionView(() => stream?.heard));

setInterval(() => {
  if (document.hidden) return;
  cards.tick();
  trees.tick();
}, 1000);
