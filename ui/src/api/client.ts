/** The API's client. Its types are generated from the API's OpenAPI document. */
import { signal } from "@preact/signals";
import createClient from "openapi-fetch";

import type { components, paths } from "./document";
import { words } from "../texts";

export type Problem = components["schemas"]["Problem"];
export type Summary = components["schemas"]["ModelSummary"];
export type State = components["schemas"]["ExplanationState"];
export type PredictRequest = components["schemas"]["PredictRequest"];
export type ExplainRequest = components["schemas"]["ExplainRequest"];
export type Recorded = components["schemas"]["Recorded"];
export type OutOfRange = components["schemas"]["OutOfRange"];
export type Method = NonNullable<ExplainRequest["method"]>;

const KEY = "whyserve-key";

/** The problem when the service requires a key or rejects the one it received; otherwise null. */
export const keyProblem = signal<Problem | null>(null);

/** The key is kept until the tab closes, in a storage that no other tab can read. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value: string) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** The address of the service without a slash at its end. A proxy may serve it below a path prefix. */
export const BASE = new URL(".", document.baseURI).href.replace(/\/$/, "");

/** Where an answer has several media types, the JSON one: the service sends JSON if any type is accepted. */
export const api = createClient<paths, `application/${string}`>({ baseUrl: BASE });

api.use({
  onRequest({ request }) {
    if (key.get()) request.headers.set("Authorization", `Bearer ${key.get()}`);
    return request;
  },
});

/** Why a request failed, as a message for the person at the page. */
export class RequestError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly problem?: Problem,
    readonly retryAfterS?: number,
  ) {
    super(message);
  }

  get isTemporary() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

interface Reply<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of a successful call. Raises RequestError, or fetch's AbortError if the call was aborted. */
export async function dataOf<T>(call: Promise<Reply<T>>): Promise<T> {
  let replied: Reply<T>;
  try {
    replied = await call;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new RequestError(words.trouble.down, 0);
  }
  const { data, error, response } = replied;
  if (response.ok && data !== undefined) return data;
  throw toRequestError(response, error);
}

export function toRequestError(response: Response, error: unknown): RequestError {
  const problem = isProblem(error) ? error : undefined;
  if (response.status === 401) keyProblem.value = problem ?? { ...NO_KEY };
  const after = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const message = problem?.detail ?? words.trouble.status(response.status);
  return new RequestError(message, response.status, problem, Number.isFinite(after) ? after : undefined);
}

const NO_KEY: Problem = { type: "", title: "", status: 401, detail: words.trouble.noKey, code: "unauthorized" };

function isProblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "detail" in value && "code" in value;
}
