/** One explanation: send the request, follow its events, return the answer, or cancel it. */
import { EventSourceParserStream } from "eventsource-parser/stream";

import type { Answer } from "./answer";
import { words } from "../texts";
import { BASE, RequestError, api, dataOf, key, toRequestError, type ExplainRequest, type State } from "./client";

/** The service answers quick explanations within this time. It accepts the others as jobs, which the page follows. */
const WAIT_S = 1;
const RETRY_MS = 1000;

export interface Watching {
  signal: AbortSignal;
  onState?: (state: JobState) => void;
}

/**
 * The progress of an explanation. standard_error: relative to the mean |attribution| so far, for a method that samples.
 * lost: the service does not answer; the page keeps asking.
 */
export interface JobState {
  id?: string;
  status: State["status"];
  progress: number;
  standard_error?: number;
  lost?: boolean;
}

/** Raises RequestError. When the signal aborts, the explanation is cancelled and fetch's AbortError is raised. */
export async function explain(body: ExplainRequest, { signal, onState }: Watching): Promise<Answer> {
  const headers = { Prefer: `wait=${WAIT_S}` };
  const first = await dataOf(api.POST("/explain", { body, headers, signal }));
  if (!isState(first)) return first;
  onState?.(first);
  const cancel = () => void api.DELETE("/explanations/{id}", { params: { path: { id: first.id } }, keepalive: true }).catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return resultOf(await waitForEnd(first, { signal, onState }));
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

async function waitForEnd(state: State, { signal, onState }: Watching): Promise<State> {
  let last = state;
  while (!isFinal(last)) {
    try {
      for await (const next of events(state.id, signal)) {
        last = next;
        onState?.(next);
      }
    } catch (error) {
      if (signal.aborted || (error instanceof RequestError && !error.isTemporary)) throw error;
      onState?.({ ...last, lost: true });
    }
    if (!isFinal(last)) await pause(RETRY_MS, signal);
  }
  return last;
}

async function* events(id: string, signal: AbortSignal): AsyncGenerator<State> {
  const headers: Record<string, string> = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  const response = await fetch(`${BASE}/explanations/${id}/events`, { headers, signal });
  if (!response.ok || !response.body) throw toRequestError(response, await response.json().catch(() => undefined));
  const stream = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const event of stream) yield JSON.parse(event.data) as State;
}

function resultOf(state: State): Answer {
  if (state.status === "done") return state.result as unknown as Answer;
  if (state.status === "cancelled") throw new RequestError(words.trouble.cancelled, 409);
  throw new RequestError(state.error?.detail ?? words.trouble.noReason, 500);
}

function isState(answer: object): answer is State {
  return "status" in answer && "progress" in answer;
}

function isFinal(state: State) {
  return state.status === "done" || state.status === "failed" || state.status === "cancelled";
}

export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
