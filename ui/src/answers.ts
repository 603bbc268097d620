/** What the service answers to what is asked: kept up to date with every change. */
import { computed, effect, signal } from "@preact/signals";

import { Asking } from "./asking";
import type { Answer, Explained, Prediction } from "./api/answer";
import { api, asked, type ExplainRequest, type PredictRequest } from "./api/client";
import { explain } from "./api/explain";
import { toRow, type Typed } from "./model";
import { background, changed, list, method, model, now, output, samples, start, tellAddress, view } from "./state";

/** A prediction follows what is typed; an explanation waits until it pauses. */
const PREDICT_AFTER_MS = 60;
const EXPLAIN_AFTER_MS = 250;

export const predicting = new Asking<Prediction>();
export const explaining = new Asking<Why>();
/** The same of the row that was started from; asked once something differs from it. */
export const beginning = new Asking<Why>();

/** An explanation, and the row that it is of. */
export interface Why {
  answer: Answer;
  explained: Explained[];
  prediction: Prediction;
  row: Typed;
}

const row = (typed: Typed) => toRow(list.peek(), typed);

async function predict(name: string, typed: Typed, signal: AbortSignal): Promise<Prediction> {
  const body = { model: name, instances: [row(typed)] } as unknown as PredictRequest;
  const answer = await asked(api.POST("/predict", { body, signal }));
  return answer.predictions[0] as Prediction;
}

async function why(typed: Typed, outputs: "top" | string[], watch: Parameters<typeof explain>[1]): Promise<Why> {
  const body = {
    model: model.peek()?.spec.name,
    instances: [row(typed)],
    outputs,
    ...(method.peek() === "auto" ? {} : { method: method.peek() }),
    ...(samples.peek() === null ? {} : { samples: samples.peek() }),
    ...(background.peek() === null ? {} : { background: background.peek() }),
  } as unknown as ExplainRequest;
  const answer = await explain(body, watch);
  const [first] = answer.explanations;
  if (!first) throw new Error("an answer has an explanation for each instance");
  return { answer, explained: first.outputs, prediction: first.prediction, row: typed };
}

let last: unknown;

/** Follow what is asked, from now on. */
export function follow() {
  effect(() => {
    const [shown, typed] = [model.value, now.value];
    if (!shown) return;
    predicting.ask(PREDICT_AFTER_MS, ({ signal }) => predict(shown.spec.name, typed, signal), shown !== last);
  });
  effect(() => {
    const [shown, typed, wanted] = [model.value, now.value, output.value];
    void [method.value, samples.value, background.value];
    if (!shown) return;
    explaining.ask(EXPLAIN_AFTER_MS, (watch) => why(typed, wanted ? [wanted] : "top", watch), shown !== last);
    last = shown;
  });
  effect(() => {
    const there = explaining.shown.value.value;
    if (!there || !changed.value.length) return;
    const from = start.value;
    const names = there.explained.map((one) => one.output);
    const known = beginning.shown.peek().value;
    const same = known?.row === from && known.answer.method === there.answer.method && known.answer.background.sha256 === there.answer.background.sha256 && known.explained.map((one) => one.output).join() === names.join();
    if (!same) beginning.ask(0, (watch) => why(from, names, watch));
  });
  effect(() => {
    void [model.value, start.value, now.value, output.value, method.value, samples.value, background.value, view.value];
    tellAddress();
  });
}

/** What is wrong with each field, in the service's own words. */
export const faults = computed<Record<string, string>>(() => {
  const problem = predicting.shown.value.refusal?.problem ?? explaining.shown.value.refusal?.problem;
  const found: Record<string, string> = {};
  for (const fault of problem?.errors ?? []) {
    const key = list.value.map((field) => field.key).find((one) => fault.field === one || fault.field?.startsWith(`${one}[`));
    if (key) found[key] ??= fault.message.replace(/^instances\[\d+\]: /, "");
  }
  return found;
});

/** Which of a regression's outputs is looked at. */
export const looked = signal(0);
