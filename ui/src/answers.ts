/** The service's answers, updated on every change of the state. */
import { computed, effect, signal } from "@preact/signals";

import { Query } from "./query";
import type { Answer, LabelMask, OutputExplanation, Prediction } from "./api/answer";
import { api, dataOf, type ExplainRequest, type OutOfRange, type PredictRequest } from "./api/client";
import { explain } from "./api/explain";
import { toRow, type TypedRow } from "./model";
import { ambiguous, changed, current, explainOptions, model, modelFields, output, start, updateAddress } from "./state";

/** A prediction is requested while a person types, an explanation only after a pause. Those of another model: at once. */
const PREDICT_AFTER_MS = 60;
const EXPLAIN_AFTER_MS = 250;

/** A prediction, and the features that are outside the model's range. */
export interface Predicted {
  prediction: Prediction;
  outside: OutOfRange[];
}

export const predictionQuery = new Query<Predicted>();
export const explanationQuery = new Query<RowExplanation>();
/** The explanation of the start row, requested once the current row differs from it. */
export const startQuery = new Query<RowExplanation>();

/** The explanation of a row, and that row. */
export interface RowExplanation {
  answer: Answer;
  explained: OutputExplanation[];
  prediction: Prediction;
  row: TypedRow;
  masks: Record<string, LabelMask>;
  /** The options of the request. */
  options: object;
  /** The request for the service's picture of an output. */
  request: (output: string) => ExplainRequest;
}

const rowToSend = (typed: TypedRow) => toRow(modelFields.peek(), typed);

async function predict(name: string, typed: TypedRow, signal: AbortSignal): Promise<Predicted> {
  const body = { model: name, instances: [rowToSend(typed)], out_of_range: true } as unknown as PredictRequest;
  const answer = await dataOf(api.POST("/predict", { body, signal }));
  return { prediction: answer.predictions[0] as Prediction, outside: answer.out_of_range?.[0] ?? [] };
}

/** The body of the request that explains a row. */
export function explainBody(typed: TypedRow, outputs: "top" | string[]): ExplainRequest {
  return {
    model: model.peek()?.spec.name,
    instances: [rowToSend(typed)],
    outputs,
    ...explainOptions.peek(),
  } as unknown as ExplainRequest;
}

async function explainRow(typed: TypedRow, outputs: "top" | string[], watch: Parameters<typeof explain>[1]): Promise<RowExplanation> {
  const options = explainOptions.peek();
  return rowExplanation(await explain(explainBody(typed, outputs), watch), typed, options, (name) => explainBody(typed, [name]));
}

/** The first explanation of an answer. */
export function rowExplanation(answer: Answer, row: TypedRow, options: object, request: RowExplanation["request"]): RowExplanation {
  const [first] = answer.explanations;
  if (!first) throw new Error("an answer has an explanation for each instance");
  return { answer, explained: first.outputs, prediction: first.prediction, masks: first.masks ?? {}, row, options, request };
}

const outputNames = ({ explained }: RowExplanation) => explained.map((one) => one.output);
const sameTerms = (one: RowExplanation, other: RowExplanation) =>
  one.options === other.options && one.answer.method === other.answer.method && one.answer.background.sha256 === other.answer.background.sha256;

let last: unknown;

/** Begin to send requests on every change of the state. */
export function startUpdates() {
  effect(() => {
    const [shown, typed] = [model.value, current.value];
    if (!shown || Object.keys(ambiguous.value).length) return;
    predictionQuery.ask(shown === last ? PREDICT_AFTER_MS : 0, ({ signal }) => predict(shown.spec.name, typed, signal), shown !== last);
  });
  effect(() => {
    const [shown, typed, wanted] = [model.value, current.value, output.value];
    void explainOptions.value;
    if (!shown || Object.keys(ambiguous.value).length) return;
    explanationQuery.ask(shown === last ? EXPLAIN_AFTER_MS : 0, (watch) => explainRow(typed, wanted ? [wanted] : "top", watch), shown !== last);
    last = shown;
  });
  effect(() => {
    const explanation = explanationQuery.state.value.value;
    if (!explanation || !changed.value.length || Object.keys(ambiguous.value).length) return;
    const from = start.value;
    const names = outputNames(explanation);
    const startExplanation = startQuery.state.peek().value;
    const same = startExplanation?.row === from && sameTerms(startExplanation, explanation);
    if (!same || outputNames(startExplanation).join() !== names.join()) startQuery.ask(0, (watch) => explainRow(from, names, watch));
  });
  effect(updateAddress);
}

/** For each field whose value is outside the model's range, the range. */
export const outside = computed<Record<string, OutOfRange>>(() => Object.fromEntries((predictionQuery.state.value.value?.outside ?? []).map((one) => [one.feature, one])));

/** The fault of each wrong field: of the page's own reading, or the service's message. */
export const fieldErrors = computed<Record<string, string>>(() => {
  if (Object.keys(ambiguous.value).length) return ambiguous.value;
  const problem = predictionQuery.state.value.error?.problem ?? explanationQuery.state.value.error?.problem;
  const found: Record<string, string> = {};
  for (const fault of problem?.errors ?? []) {
    const key = modelFields.value.map((field) => field.key).find((one) => fault.field === one || fault.field?.startsWith(`${one}[`));
    if (key) found[key] ??= fault.message.replace(/^instances\[\d+\]: /, "");
  }
  return found;
});

/** The position of the shown output, for a regression with several outputs. */
export const outputIndex = signal(0);
