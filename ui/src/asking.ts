/** A question that is asked again whenever it changes, and of which only the last answer counts. */
import { signal } from "@preact/signals";

import { Refusal } from "./api/client";
import { pause, type Followed } from "./api/explain";

export interface Shown<T> {
  /** The last answer, also while another one is on its way or was refused. */
  value?: T;
  asking: boolean;
  refusal?: Refusal;
  followed?: Followed;
  cancelled?: boolean;
  ms?: number;
}

export interface Watch {
  signal: AbortSignal;
  onState: (state: Followed) => void;
}

/** Between two tries to reach a service that may come back. */
const AGAIN_S = 3;

export class Asking<T> {
  readonly shown = signal<Shown<T>>({ asking: false });
  private control = new AbortController();
  private again: () => void = () => {};

  /** Ask once nothing else was asked for a while; fresh: what was answered before was another question's. */
  ask(afterMs: number, question: (watch: Watch) => Promise<T>, fresh = false): void {
    this.control.abort();
    const control = (this.control = new AbortController());
    this.again = () => this.ask(0, question);
    this.shown.value = { value: fresh ? undefined : this.shown.peek().value, asking: true };
    void this.run(afterMs, question, control.signal);
  }

  private async run(afterMs: number, question: (watch: Watch) => Promise<T>, signal: AbortSignal): Promise<void> {
    const shown = this.shown;
    try {
      if (afterMs) await pause(afterMs, signal);
      const began = performance.now();
      const onState = (followed: Followed) => {
        if (!signal.aborted) shown.value = { ...shown.peek(), followed };
      };
      const value = await question({ signal, onState });
      if (!signal.aborted) shown.value = { value, asking: false, ms: performance.now() - began };
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refusal)) throw error;
      shown.value = { value: shown.peek().value, asking: false, refusal: error };
      if (error.status !== 0 && error.status !== 503) return;
      await pause(1000 * (error.retryAfterS ?? AGAIN_S), signal).then(this.again, () => {});
    }
  }

  /** No longer wanted. */
  cancel(): void {
    this.control.abort();
    this.shown.value = { value: this.shown.peek().value, asking: false, cancelled: true };
  }

  /** Ask the same once more. */
  retry(): void {
    this.again();
  }
}
