/** What a person does with the table: start, stop, open a row. */
import { batch, effect } from "@preact/signals";

import { secondLabel } from "../api/answer";
import { RequestError } from "../api/client";
import { current, insteadOf, model, opened, output, start, view } from "../state";
import { inputError, resetInput } from "./input";
import type { Row } from "./rows";
import { Run, ignored, isLacking, progress, question, requestError, stopped } from "./run";
import { eachSecond, filter, page, results, shownLines } from "./state";

let run: Run | null = null;

/** Do a step of a run, and show its error. isShown: the step shows its progress. */
async function attempt(of: Run, step: () => Promise<void>, isShown = true) {
  try {
    await step();
  } catch (error) {
    if (of !== run || of.isOver || (error instanceof DOMException && error.name === "AbortError")) return;
    if (error instanceof RequestError) requestError.value = error;
    else inputError.value = (error as Error).message;
    stop();
  } finally {
    if (of === run && isShown) progress.value = null;
  }
}

export async function runTable() {
  const shown = model.value;
  if (!shown) return;
  clear();
  stopped.value = false;
  const next = (run = new Run(shown.spec.name));
  await attempt(next, () => next.execute());
}

/** Explain all rows of a large table. */
export function explainAll() {
  const of = run;
  if (!of || of.isOver) return;
  of.isWhole = true;
  void attempt(of, () => of.explain(true));
}

export function stop() {
  run?.stop();
  stopped.value = true;
  progress.value = null;
}

function clear() {
  stop();
  [run, results.value, inputError.value, requestError.value, ignored.value, page.value, filter.value] = [null, null, "", null, [], 0, { kind: "all" }];
}

/** The model that the table is for. The table is forgotten only when the model changes. */
let tableModel = "";

export function resetFor(name: string) {
  if (tableModel === name) return;
  clear();
  [tableModel, opened.value, eachSecond.value] = [name, null, false];
  resetInput();
}

/** Begin to explain the rows in view, and the pictures' rows again if another question is chosen. */
export function startTable() {
  effect(() => {
    const [inView, isTable] = [shownLines.value, view.value === "table"];
    void question.value;
    const of = run;
    if (!of || of.isOver || !isTable) return;
    if (of.renew()) void attempt(of, () => of.explain(true));
    else if (inView.some(isLacking)) void attempt(of, () => of.explain(), false);
  });
}

/** The explained output and the one it is compared with, as they were before a row was opened with others. */
let before: [string | null, string | null] | null = null;

/** Show a row as one row, with the same question as in the table. */
export function openRow(row: Row) {
  if (!row.prediction || row.fault !== undefined) return;
  const { label } = row.prediction;
  batch(() => {
    if (eachSecond.value && label !== undefined) {
      before ??= [output.value, insteadOf.value];
      [output.value, insteadOf.value] = [label, secondLabel(row.prediction ?? {}) ?? null];
    }
    [start.value, current.value, opened.value, view.value] = [row.typed, row.typed, row.line, "row"];
  });
}

export function closeRow() {
  batch(() => {
    if (before) [output.value, insteadOf.value] = before;
    [before, opened.value, view.value] = [null, null, "table"];
  });
}
