/** A request that is repeated on every change. Only the answer to the latest request is kept. */
import { signal } from "@preact/signals";

import { RequestError } from "./api/client";
import { pause, type JobState } from "./api/explain";

export interface QueryState<T> {
  /** The last answer. It stays while a new request runs, and after a new request failed. */
  value?: T;
  asking: boolean;
  error?: RequestError;
  job?: JobState;
  cancelled?: boolean;
  ms?: number;
}

export interface Watch {
  signal: AbortSignal;
  onState: (state: JobState) => void;
}

/** The wait between two attempts to reach a service that is down. */
const RETRY_S = 3;

export class Query<T> {
  readonly state = signal<QueryState<T>>({ asking: false });
  private control = new AbortController();
  private repeat: () => void = () => {};

  /** Send the question after `afterMs`, unless a newer question replaces it before. fresh: forget the last answer. */
  ask(afterMs: number, question: (watch: Watch) => Promise<T>, fresh = false): void {
    this.control.abort();
    const control = (this.control = new AbortController());
    this.repeat = () => this.ask(0, question);
    this.state.value = { value: fresh ? undefined : this.state.peek().value, asking: true };
    void this.execute(afterMs, question, control.signal);
  }

  private async execute(afterMs: number, question: (watch: Watch) => Promise<T>, signal: AbortSignal): Promise<void> {
    const shown = this.state;
    try {
      if (afterMs) await pause(afterMs, signal);
      const began = performance.now();
      const onState = (job: JobState) => {
        if (!signal.aborted) shown.value = { ...shown.peek(), job };
      };
      const value = await question({ signal, onState });
      if (!signal.aborted) shown.value = { value, asking: false, ms: performance.now() - began };
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RequestError)) throw error;
      shown.value = { value: shown.peek().value, asking: false, error };
      if (error.status !== 0 && error.status !== 503) return;
      await pause(1000 * (error.retryAfterS ?? RETRY_S), signal).then(this.repeat, () => {});
    }
  }

  /** Abort the request and keep the last answer. */
  cancel(): void {
    this.control.abort();
    this.state.value = { value: this.state.peek().value, asking: false, cancelled: true };
  }

  /** Abort the request and forget the last answer. */
  forget(): void {
    this.control.abort();
    this.state.value = { asking: false };
  }

  /** Send the last question again. */
  retry(): void {
    this.repeat();
  }
}
