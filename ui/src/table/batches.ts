/** Predicts and explains many rows in batches. A refused row keeps its fault, and the other rows are sent again. */
import type { Prediction } from "../api/answer";
import { RequestError, api, dataOf, type ExplainRequest, type PredictRequest } from "../api/client";
import { explain, pause } from "../api/explain";
import { toRow, type Field } from "../model";
import { contributions } from "../why/contributions";
import type { Row } from "./rows";

/** The limits of one request. The service takes 1,000 instances and 32 MB. */
const PREDICTED = 1000;
const EXPLAINED = 50;
const MOST_CHARACTERS = 2_000_000;
const RETRY_S = 3;

export interface Job {
  model: string;
  fields: Field[];
  signal: AbortSignal;
  /** Called after each request, and with a reason while the service cannot answer. */
  onChange: (waitReason?: string) => void;
}

/** What is explained of each row: an output, and the output that it is compared with. */
export interface Question {
  outputOf: (row: Row) => { output: string; insteadOf?: string };
  /** The other options of the requests. */
  options: object;
}

/** Raises RequestError if another attempt would not help. */
export function predictRows(job: Job, rows: Row[]): Promise<void> {
  return inBatches(job, rows, PREDICTED, async (instances, batch) => {
    const body = { model: job.model, instances } as unknown as PredictRequest;
    const { predictions } = await dataOf(api.POST("/predict", { body, signal: job.signal }));
    batch.forEach((row, place) => (row.prediction = predictions[place] as Prediction));
  });
}

/** onProgress: how many rows of this call were explained so far. Raises RequestError if another attempt would not help. */
export async function explainRows(job: Job, rows: Row[], { outputOf, options }: Question, onProgress: (done: number) => void): Promise<void> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const { output, insteadOf } = outputOf(row);
    const key = JSON.stringify([output, insteadOf]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  let before = 0;
  for (const [first, ...others] of groups.values()) {
    if (!first) continue;
    const { output, insteadOf } = outputOf(first);
    await inBatches(job, [first, ...others], EXPLAINED, async (instances, batch) => {
      const body = { model: job.model, instances, outputs: [output], ...options, ...(insteadOf === undefined ? {} : { instead_of: insteadOf }) } as unknown as ExplainRequest;
      const { explanations, method, background, scale, reliable_reason } = await explain(body, { signal: job.signal, onState: ({ progress }) => onProgress(before + progress * batch.length) });
      const terms = { method, background, scale, reliable_reason };
      explanations.forEach(({ outputs: [explained] }, place) => {
        const row = batch[place];
        if (!row) return;
        if (!explained) throw new Error("an explanation has the output that was asked for");
        const largest = Math.max(0, ...contributions(job.fields, explained, row.typed).map((one) => Math.abs(one.value)));
        row.why = { explained, insteadOf, terms, largest };
      });
      before += batch.length;
    });
  }
}

/** Each batch is within the limits of a request. */
async function inBatches(job: Job, rows: Row[], most: number, send: (instances: object[], batch: Row[]) => Promise<void>): Promise<void> {
  const waiting = [...rows].reverse(); // so that a batch is taken from the end, without moving the others
  let size = most;
  while (waiting.length) {
    const batch: Row[] = [];
    for (let characters = 0; batch.length < size && characters < MOST_CHARACTERS; ) {
      const row = waiting.pop();
      if (!row) break;
      batch.push(row);
      for (const text of Object.values(row.typed)) characters += text.length;
    }
    try {
      await send(batch.map((row) => toRow(job.fields, row.typed)), batch);
      size = Math.min(most, 2 * size);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const refused = rowErrors(error);
      refused.forEach((message, place) => {
        const row = batch[place];
        if (row) row.fault = message;
      });
      waiting.push(...batch.filter((row) => row.fault === undefined).reverse());
      // The rows before the first refused one are known to be good, so they are the next batch.
      if (refused.size) size = Math.max(1, Math.min(...refused.keys()));
      else if (error.status === 0 || error.status === 429 || error.status === 503) {
        job.onChange(error.message);
        await pause(1000 * (error.retryAfterS ?? RETRY_S), job.signal);
      } else if (error.problem?.code === "too_many_instances" && batch.length > 1) most = size = Math.ceil(batch.length / 2);
      else throw error;
    }
    job.onChange();
  }
}

/** The first message for each refused row, by its place in the batch. */
function rowErrors({ problem }: RequestError): Map<number, string> {
  const found = new Map<number, string>();
  for (const { instance, message } of problem?.errors ?? []) {
    if (typeof instance === "number" && !found.has(instance)) found.set(instance, message.replace(/^instances\[\d+\]: /, ""));
  }
  return found;
}
