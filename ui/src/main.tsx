import "./page.css";

import { render } from "preact";

import { App } from "./App";
import { explanationQuery, startUpdates, predictionQuery } from "./answers";
import { startDecision } from "./decision/state";
import { startPanels } from "./more/state";
import { loadModels } from "./state";
import { startTable } from "./table/actions";

const root = document.getElementById("page");
if (!root) throw new Error("index.html has a place for the page");
render(<App />, root);
startUpdates();
startPanels();
startDecision();
startTable();
void loadModels();

addEventListener("popstate", () => void loadModels());
addEventListener("online", () => {
  for (const one of [predictionQuery, explanationQuery]) if (one.state.peek().error) one.retry();
});
