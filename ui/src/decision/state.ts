/** A recorded decision, found by its id, and its explanation from the same build. */
import { computed, effect } from "@preact/signals";

import { rowExplanation, type RowExplanation } from "../answers";
import type { Answer, Prediction } from "../api/answer";
import { api, dataOf, type ExplainRequest, type Recorded } from "../api/client";
import { explain } from "../api/explain";
import { fromRow, type TypedRow } from "../model";
import { Query } from "../query";
import { decision, model, modelFields, models, selectModel, view } from "../state";

export const decisionQuery = new Query<Recorded>();
export const replayQuery = new Query<RowExplanation>();

/** The row that the id names, or the first one. */
export const place = computed(() => Number(decision.value?.split(".")[1] ?? 0));

type Row = Record<string, unknown>;

/** The rows as they were sent, if they were sent as instances or columns. */
export function sentRows({ sent }: Recorded): Row[] | undefined {
  const { instances, columns } = (sent ?? {}) as { instances?: unknown; columns?: Record<string, unknown[]> };
  if (Array.isArray(instances)) return instances as Row[];
  if (!columns) return undefined;
  const count = Math.max(...Object.values(columns).map((column) => column.length));
  return Array.from({ length: count }, (_, row) => Object.fromEntries(Object.entries(columns).map(([key, column]) => [key, column[row]])));
}

export function predictionOf({ answer }: Recorded): Prediction | undefined {
  const { predictions, explanations } = (answer ?? {}) as { predictions?: Prediction[]; explanations?: { prediction: Prediction }[] };
  return predictions?.[place.value] ?? explanations?.[place.value]?.prediction;
}

/** The decision's row as the form has it; undefined if it was erased. */
export function typedRow(found: Recorded): TypedRow | undefined {
  const row = sentRows(found)?.[place.value] ?? networkRow(found);
  return row && fromRow(modelFields.peek(), row);
}

/** The row that the network got, without texts: of them it got numbers. */
function networkRow({ network_input: arrays }: Recorded): Row | undefined {
  const inputs = model.peek()?.spec.inputs ?? [];
  return arrays && Object.fromEntries(inputs.flatMap(({ name, features, tokenizer }): [string, unknown][] => {
    const values = (arrays[name] as unknown[] | undefined)?.[place.value];
    if (!features.length) return tokenizer ? [] : [[name, values]];
    return features.map((feature, at) => {
      const value = (values as (number | null)[] | undefined)?.[at];
      if (feature.categories) return [feature.name, feature.categories[value ?? -1]];
      return [feature.name, feature.boolean && typeof value === "number" ? value === 1 : value];
    });
  }));
}

async function find(id: string, signal: AbortSignal): Promise<Recorded> {
  const found = await dataOf(api.GET("/predictions/{id}", { params: { path: { id } }, signal }));
  const isServed = models.peek().some(({ name }) => name === found.model);
  if (isServed && model.peek()?.spec.name !== found.model) await selectModel(found.model, { view: "decision" });
  return found;
}

/** Explain the decision again. */
export function replay(found: Recorded) {
  const id = found.rows > 1 ? `${found.id}.${place.peek()}` : found.id;
  const body = (outputs?: string[]) => ({ prediction: id, ...(outputs ? { outputs } : {}) }) as unknown as ExplainRequest;
  replayQuery.ask(0, async (watch) => rowExplanation((await explain(body(), watch)) as Answer, typedRow(found) ?? {}, {}, (output) => body([output])), true);
}

/** Begin to look up the decision of the address. */
export function startDecision() {
  effect(() => {
    const id = decision.value;
    if (view.value !== "decision" || !id || !model.value) return;
    replayQuery.forget();
    decisionQuery.ask(0, ({ signal }) => find(id, signal), true);
  });
}
