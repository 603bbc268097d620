/** What a person can ask beside the explanation: reasons for people, counterfactuals and similar cases. */
import { computed, effect, signal } from "@preact/signals";

import type { Answer, Prediction, Reasons, RowAnswer } from "../api/answer";
import { api, dataOf, type ExplainRequest } from "../api/client";
import { explain } from "../api/explain";
import { toRow, type Field, type Manifest, type TypedRow } from "../model";
import { Query } from "../query";
import { ambiguous, background, current, model, modelFields, output } from "../state";

export type Panel = "reasons" | "counterfactuals" | "similar";

const ASK_AFTER_MS = 250;
const ALTERNATIVES = 3;
const SIMILAR = 5;

/** The open panels. A panel asks again on every change while it is open. */
export const open = signal<ReadonlySet<Panel>>(new Set());
/** The features that a counterfactual must not change. */
export const held = signal<ReadonlySet<string>>(new Set());
/** The number that the prediction of a regression shall reach or fall below; null is none. */
export const goal = signal<number | null>(null);
export const language = signal<string | null>(null);

export interface Counterfactual {
  changes: Record<string, unknown>;
  instance: Record<string, unknown>;
  prediction: Prediction;
  distance: number;
}

export interface Counterfactuals {
  prediction: Prediction;
  output: string;
  found: Counterfactual[];
  complete: boolean;
  none?: string;
}

export const reasonsQuery = new Query<{ reasons: Reasons; background: Answer["background"] }>();
export const counterfactualQuery = new Query<{ found: Counterfactuals; row: TypedRow }>();
export const similarQuery = new Query<RowAnswer>();

export const isTabular = (list: Field[]) => list.every((field) => field.kind === "number" || field.kind === "category");

/** The panels that a model has. */
export function panelsOf(shown: Manifest, list: Field[]): Panel[] {
  const found: Panel[] = shown.spec.reasons ? ["reasons"] : [];
  return isTabular(list) ? [...found, "counterfactuals", "similar"] : found;
}

/** The features that model.toml holds fixed. */
export function fixedByModel(shown: Manifest): string[] {
  return Object.entries(shown.spec.counterfactual.changes).flatMap(([key, { fixed }]) => (fixed ? [key] : []));
}

export const isRegression = (shown: Manifest) => shown.spec.task === "regression";

async function askReasons(shown: Manifest, typed: TypedRow, signal: AbortSignal) {
  const body = { ...request(shown, typed), reasons: true, ...(language.peek() ? { language: language.peek() } : {}) };
  const answer = await explain(body as unknown as ExplainRequest, { signal });
  const reasons = answer.explanations[0]?.reasons;
  if (!reasons) throw new Error("an answer has the reasons that were asked for");
  return { reasons, background: answer.background };
}

async function askSimilar(shown: Manifest, typed: TypedRow, signal: AbortSignal): Promise<RowAnswer> {
  const chosen = background.peek() === null ? {} : { background: background.peek() };
  const body = { ...request(shown, typed), similar: shown.spec.explain.show_background ? SIMILAR : 0, outputs: "top", ...chosen };
  const answer = await explain(body as unknown as ExplainRequest, { signal });
  const [first] = answer.explanations;
  if (!first) throw new Error("an answer has an explanation for each instance");
  return first;
}

async function askCounterfactuals(shown: Manifest, typed: TypedRow, signal: AbortSignal) {
  const changes = Object.fromEntries([...held.peek()].map((key) => [key, { fixed: true }]));
  const decision = isRegression(shown) ? { output: output.peek() ?? shown.spec.output.names[0], threshold: goal.peek() } : {};
  const body = { ...request(shown, typed), count: ALTERNATIVES, changes, ...decision };
  const answer = (await dataOf(api.POST("/counterfactual", { body: body as never, signal }))) as unknown as { counterfactuals: Counterfactuals[] };
  const [found] = answer.counterfactuals;
  if (!found) throw new Error("an answer has counterfactuals for each instance");
  return { found, row: typed };
}

const request = (shown: Manifest, typed: TypedRow) => ({ model: shown.spec.name, instances: [toRow(modelFields.peek(), typed)] });

/** Begin to send requests for the open panels. */
export function startPanels() {
  const name = computed(() => model.value?.spec.name);
  effect(() => {
    void name.value;
    [held.value, goal.value, language.value] = [new Set(), null, null];
  });
  ask("reasons", reasonsQuery, askReasons, () => language.value);
  ask("similar", similarQuery, askSimilar, () => background.value);
  ask("counterfactuals", counterfactualQuery, askCounterfactuals, () => [held.value, output.value, goal.value]);
}

function ask<T>(panel: Panel, query: Query<T>, question: (shown: Manifest, typed: TypedRow, signal: AbortSignal) => Promise<T>, options: () => unknown) {
  let last: Manifest | null = null;
  effect(() => {
    const [shown, typed] = [model.value, current.value];
    options();
    if (!shown || !open.value.has(panel) || !panelsOf(shown, modelFields.value).includes(panel) || Object.keys(ambiguous.value).length) return;
    if (panel === "counterfactuals" && isRegression(shown) && goal.value === null) return;
    query.ask(ASK_AFTER_MS, ({ signal }) => question(shown, typed, signal), shown !== last);
    last = shown;
  });
}
