/** One explanation, from the request to its answer: followed by its events, cancelled when it is no longer wanted. */
import { EventSourceParserStream } from "eventsource-parser/stream";

import type { Answer } from "./answer";
import { Refusal, api, asked, key, refusal, type ExplainRequest, type State } from "./client";

/** Quick ones are answered at once; the others are accepted after this long, and followed. */
const AT_ONCE_S = 1;
const AGAIN_MS = 1000;

export interface Watching {
  signal: AbortSignal;
  onState?: (state: Followed) => void;
}

/**
 * How far it is. standard_error: of what is sampled, as a share of the mean effect so far. lost: the service cannot be
 * reached, and is asked again and again.
 */
export interface Followed {
  id?: string;
  status: State["status"];
  progress: number;
  standard_error?: number;
  lost?: boolean;
}

/** Raises Refusal; when the signal aborts, the explanation is cancelled and fetch's AbortError raised. */
export async function explain(body: ExplainRequest, { signal, onState }: Watching): Promise<Answer> {
  const headers = { Prefer: `wait=${AT_ONCE_S}` };
  const first = await asked(api.POST("/explain", { body, headers, signal }));
  if (!isState(first)) return first;
  onState?.(first);
  const cancel = () => void api.DELETE("/explanations/{id}", { params: { path: { id: first.id } }, keepalive: true }).catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return resultOf(await final(first, { signal, onState }));
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

async function final(state: State, { signal, onState }: Watching): Promise<State> {
  let last = state;
  while (!isFinal(last)) {
    try {
      for await (const next of events(state.id, signal)) {
        last = next;
        onState?.(next);
      }
    } catch (error) {
      if (signal.aborted || (error instanceof Refusal && !error.mayPass)) throw error;
      onState?.({ ...last, lost: true });
    }
    if (!isFinal(last)) await pause(AGAIN_MS, signal);
  }
  return last;
}

async function* events(id: string, signal: AbortSignal): AsyncGenerator<State> {
  const headers: Record<string, string> = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  const response = await fetch(`/explanations/${id}/events`, { headers, signal });
  if (!response.ok || !response.body) throw refusal(response, await response.json().catch(() => undefined));
  const stream = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const event of stream) yield JSON.parse(event.data) as State;
}

function resultOf(state: State): Answer {
  if (state.status === "done") return state.result as unknown as Answer;
  if (state.status === "cancelled") throw new Refusal("The explanation was cancelled.", 409);
  throw new Refusal(state.error?.detail ?? "The explanation failed, and the service did not say why.", 500);
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
