/** The API's client, its types generated from the API's own document. */
import { signal } from "@preact/signals";
import createClient from "openapi-fetch";

import type { components, paths } from "./document";

export type Problem = components["schemas"]["Problem"];
export type Summary = components["schemas"]["ModelSummary"];
export type State = components["schemas"]["ExplanationState"];
export type PredictRequest = components["schemas"]["PredictRequest"];
export type ExplainRequest = components["schemas"]["ExplainRequest"];
export type Method = NonNullable<ExplainRequest["method"]>;

const KEY = "whyserve-key";

/** Whether the service asked for a key, or refused the one it was given. */
export const keyWanted = signal<Problem | null>(null);

/** The key lives as long as the tab, and is in no storage that another tab reads. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value: string) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** Of an answer that has several forms the JSON, which is what comes to who accepts anything. */
export const api = createClient<paths, `application/${string}`>({ baseUrl: location.origin });

api.use({
  onRequest({ request }) {
    if (key.get()) request.headers.set("Authorization", `Bearer ${key.get()}`);
    return request;
  },
});

/** Why there is no answer, in words for people. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly problem?: Problem,
    readonly retryAfterS?: number,
  ) {
    super(message);
  }

  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

interface Replied<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What a call answers; raises Refusal where it does not. An aborted call raises what fetch does. */
export async function asked<T>(call: Promise<Replied<T>>): Promise<T> {
  let replied: Replied<T>;
  try {
    replied = await call;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal("The service does not answer: it is down, or there is no network.", 0);
  }
  const { data, error, response } = replied;
  if (response.ok && data !== undefined) return data;
  throw refusal(response, error);
}

export function refusal(response: Response, error: unknown): Refusal {
  const problem = isProblem(error) ? error : undefined;
  if (response.status === 401) keyWanted.value = problem ?? { ...NO_KEY };
  const after = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const words = problem?.detail ?? `The service answered ${response.status}, and did not say why.`;
  return new Refusal(words, response.status, problem, Number.isFinite(after) ? after : undefined);
}

const NO_KEY: Problem = { type: "", title: "", status: 401, detail: "The service asks for a key.", code: "unauthorized" };

function isProblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "detail" in value && "code" in value;
}
