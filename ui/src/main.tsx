import "./page.css";

import { render } from "preact";

import { App } from "./App";
import { explaining, follow, predicting } from "./answers";
import { open } from "./state";

const root = document.getElementById("page");
if (!root) throw new Error("index.html has a place for the page");
render(<App />, root);
follow();
void open();

addEventListener("popstate", () => void open());
addEventListener("online", () => {
  for (const one of [predicting, explaining]) if (one.shown.peek().refusal) one.retry();
});
