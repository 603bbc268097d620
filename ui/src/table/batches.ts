/** Many rows, a few at a time: what one row lacks is its own fault, and the others go on. */
import { Refusal, type ExplainRequest } from "../api/client";
import { explain, pause } from "../api/explain";
import { toRow, type Field, type Typed } from "../model";
import type { Row } from "./rows";

const ROWS_A_REQUEST = 20;
/** So many refused rows tell that it is the table which is wrong. */
const MOST_FAULTS = 20;
const AGAIN_S = 3;

export interface Batches {
  model: string;
  output: string;
  method?: string;
  background?: string;
  fields: Field[];
  rows: Typed[];
  signal: AbortSignal;
  onChange: (soFar: SoFar) => void;
}

export interface SoFar {
  done: number;
  rows: Row[];
  faults: { line: number; words: string }[];
  /** Why it waits, where it does. */
  waits?: string;
}

/** Raises Refusal where going on makes no sense. */
export async function explainAll(asked: Batches): Promise<SoFar> {
  let soFar: SoFar = { done: 0, rows: [], faults: [] };
  const tell = (change: Partial<SoFar>) => asked.onChange((soFar = { ...soFar, waits: undefined, ...change }));
  const lines = asked.rows.map((_, place) => place);
  while (lines.length && soFar.faults.length < MOST_FAULTS) {
    const batch = lines.splice(0, ROWS_A_REQUEST);
    try {
      const rows = await some(asked, batch, (progress) => tell({ done: soFar.rows.length + soFar.faults.length + progress * batch.length }));
      tell({ rows: [...soFar.rows, ...rows], done: soFar.rows.length + rows.length + soFar.faults.length });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const refused = refusedOf(error, batch);
      if (refused.length) {
        const wrong = new Set(refused.map((one) => one.line - 1));
        lines.unshift(...batch.filter((line) => !wrong.has(line)));
        tell({ faults: [...soFar.faults, ...refused] });
      } else if (error.status === 0 || error.status === 503) {
        lines.unshift(...batch);
        tell({ waits: error.message });
        await pause(1000 * (error.retryAfterS ?? AGAIN_S), asked.signal);
      } else throw error;
    }
  }
  return soFar;
}

async function some({ model, output, method, background, fields, rows, signal }: Batches, batch: number[], onProgress: (share: number) => void): Promise<Row[]> {
  const instances = batch.map((line) => toRow(fields, rows[line] ?? {}));
  const body = { model, instances, outputs: [output], ...(method ? { method } : {}), ...(background ? { background } : {}) } as unknown as ExplainRequest;
  const answer = await explain(body, { signal, onState: ({ progress }) => onProgress(progress) });
  return answer.explanations.flatMap(({ outputs: [explained], prediction }, place) => {
    const line = batch[place];
    return explained && line !== undefined ? [{ typed: rows[line] ?? {}, line: line + 1, explained, prediction }] : [];
  });
}

function refusedOf({ problem }: Refusal, batch: number[]): { line: number; words: string }[] {
  const found = new Map<number, string>();
  for (const { instance, message } of problem?.errors ?? []) {
    const line = instance === undefined ? undefined : batch[instance];
    if (line !== undefined && !found.has(line)) found.set(line, message.replace(/^instances\[\d+\]: /, ""));
  }
  return [...found].map(([line, words]) => ({ line: line + 1, words }));
}
