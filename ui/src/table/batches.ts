/** Explains many rows in batches. A refused row keeps its fault, and the other rows are explained. */
import { RequestError, type ExplainRequest } from "../api/client";
import { explain, pause } from "../api/explain";
import { ambiguities, toRow, type Field } from "../model";
import type { InputRow, Row } from "./rows";

const ROWS_PER_REQUEST = 50;
/** The page is drawn again at most this often. */
const TELL_MS = 300;
const RETRY_S = 3;

export interface Batches {
  model: string;
  output: string;
  /** The options of the requests. */
  options: object;
  fields: Field[];
  rows: InputRow[];
  signal: AbortSignal;
  onChange: (soFar: Results) => void;
}

export interface Refused {
  id: string;
  line: number;
  message: string;
}

export interface Results {
  done: number;
  rows: Row[];
  errors: Refused[];
  /** Why the run waits; undefined while it runs. */
  waitReason?: string;
}

/** Raises RequestError if another attempt would not help. */
export async function explainAll(job: Batches): Promise<void> {
  const [rows, errors]: [Row[], Refused[]] = [[], []];
  let told = 0;
  const tell = (part = 0, waitReason?: string) => {
    told = performance.now();
    job.onChange({ done: rows.length + errors.length + part, rows: [...rows], errors: [...errors].sort((one, other) => one.line - other.line), waitReason });
  };
  const refuse = (place: number, message: string) => errors.push({ id: job.rows[place]?.id ?? "", line: place + 1, message });
  const waiting: number[] = [];
  job.rows.forEach(({ typed, fault }, place) => {
    const [key, reading] = Object.entries(fault ? {} : ambiguities(job.fields, typed))[0] ?? [];
    if (fault) refuse(place, fault);
    else if (key) refuse(place, `${key}: ${reading}`);
    else waiting.push(place);
  });
  waiting.reverse(); // so that a batch is taken from the end, without moving the others
  while (waiting.length) {
    const batch = waiting.splice(-ROWS_PER_REQUEST).reverse();
    try {
      rows.push(...(await explainBatch(job, batch, (progress) => tell(progress * batch.length))));
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const refused = rowErrors(error, batch);
      waiting.push(...batch.filter((place) => !refused.has(place)).reverse());
      if (refused.size) refused.forEach((message, place) => refuse(place, message));
      else if (error.status === 0 || error.status === 503) {
        tell(0, error.message);
        await pause(1000 * (error.retryAfterS ?? RETRY_S), job.signal);
      } else throw error;
    }
    if (performance.now() - told > TELL_MS) tell();
  }
  tell();
}

async function explainBatch({ model, output, options, fields, rows, signal }: Batches, batch: number[], onProgress: (share: number) => void): Promise<Row[]> {
  const instances = batch.map((place) => toRow(fields, rows[place]?.typed ?? {}));
  const body = { model, instances, outputs: [output], ...options } as unknown as ExplainRequest;
  const answer = await explain(body, { signal, onState: ({ progress }) => onProgress(progress) });
  const { scale, reliable_reason: unreliable } = answer;
  return answer.explanations.flatMap(({ outputs: [explained], prediction }, at) => {
    const place = batch[at];
    const row = place === undefined ? undefined : rows[place];
    return explained && row && place !== undefined ? [{ id: row.id, typed: row.typed, line: place + 1, explained, prediction, scale, unreliable }] : [];
  });
}

/** The first message for each wrong row, by its place in the table. */
function rowErrors({ problem }: RequestError, batch: number[]): Map<number, string> {
  const found = new Map<number, string>();
  for (const { instance, message } of problem?.errors ?? []) {
    const place = instance === undefined ? undefined : batch[instance];
    if (place !== undefined && !found.has(place)) found.set(place, message.replace(/^instances\[\d+\]: /, ""));
  }
  return found;
}
