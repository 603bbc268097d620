/** Explains many rows in small batches. A wrong row is reported, and the other rows are explained. */
import { RequestError, type ExplainRequest } from "../api/client";
import { explain, pause } from "../api/explain";
import { toRow, type Field, type TypedRow } from "../model";
import type { Row } from "./rows";

const ROWS_PER_REQUEST = 20;
/** After this many wrong rows, the whole table is likely wrong, and the run ends. */
const MAX_ERRORS = 20;
const RETRY_S = 3;

export interface Batches {
  model: string;
  output: string;
  method?: string;
  background?: string;
  fields: Field[];
  rows: TypedRow[];
  signal: AbortSignal;
  onChange: (soFar: Results) => void;
}

export interface Results {
  done: number;
  rows: Row[];
  errors: { line: number; message: string }[];
  /** Why the run waits; undefined while it runs. */
  waitReason?: string;
}

/** Raises RequestError if another attempt would not help. */
export async function explainAll(job: Batches): Promise<Results> {
  let results: Results = { done: 0, rows: [], errors: [] };
  const tell = (change: Partial<Results>) => job.onChange((results = { ...results, waitReason: undefined, ...change }));
  const lines = job.rows.map((_, place) => place);
  while (lines.length && results.errors.length < MAX_ERRORS) {
    const batch = lines.splice(0, ROWS_PER_REQUEST);
    try {
      const rows = await explainBatch(job, batch, (progress) => tell({ done: results.rows.length + results.errors.length + progress * batch.length }));
      tell({ rows: [...results.rows, ...rows], done: results.rows.length + rows.length + results.errors.length });
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const refused = rowErrors(error, batch);
      if (refused.length) {
        const wrong = new Set(refused.map((one) => one.line - 1));
        lines.unshift(...batch.filter((line) => !wrong.has(line)));
        tell({ errors: [...results.errors, ...refused] });
      } else if (error.status === 0 || error.status === 503) {
        lines.unshift(...batch);
        tell({ waitReason: error.message });
        await pause(1000 * (error.retryAfterS ?? RETRY_S), job.signal);
      } else throw error;
    }
  }
  return results;
}

async function explainBatch({ model, output, method, background, fields, rows, signal }: Batches, batch: number[], onProgress: (share: number) => void): Promise<Row[]> {
  const instances = batch.map((line) => toRow(fields, rows[line] ?? {}));
  const body = { model, instances, outputs: [output], ...(method ? { method } : {}), ...(background ? { background } : {}) } as unknown as ExplainRequest;
  const answer = await explain(body, { signal, onState: ({ progress }) => onProgress(progress) });
  return answer.explanations.flatMap(({ outputs: [explained], prediction }, place) => {
    const line = batch[place];
    return explained && line !== undefined ? [{ typed: rows[line] ?? {}, line: line + 1, explained, prediction }] : [];
  });
}

function rowErrors({ problem }: RequestError, batch: number[]): { line: number; message: string }[] {
  const found = new Map<number, string>();
  for (const { instance, message } of problem?.errors ?? []) {
    const line = instance === undefined ? undefined : batch[instance];
    if (line !== undefined && !found.has(line)) found.set(line, message.replace(/^instances\[\d+\]: /, ""));
  }
  return [...found].map(([line, message]) => ({ line: line + 1, message }));
}
