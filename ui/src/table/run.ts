/** Reads the table, predicts all of its rows, and explains those in view, those of the pictures or all of them. */
import { computed, signal } from "@preact/signals";

import { secondLabel } from "../api/answer";
import type { RequestError } from "../api/client";
import { outputs } from "../model";
import { explainOptions, model, modelFields, output, view } from "../state";
import { explainRows, predictRows, type Job, type Question } from "./batches";
import { readInput } from "./input";
import type { Row } from "./rows";
import { eachSecond, explained, pictured, predictedRows, results, shownLines } from "./state";

const EXPLAINED = 50;
/** Rows with several questions are explained in larger batches, so that their requests are not too small. */
const EXPLAINED_EACH = 250;
/** The list is drawn again at most this often while rows are predicted. */
const TELL_MS = 300;

/** kind: what is being done; done, total: rows; waitReason: why the service cannot answer now. */
export interface Progress {
  kind: "reading" | "predicting" | "explaining";
  done: number;
  total: number;
  waitReason?: string;
}
export const progress = signal<Progress | null>(null);
/** Whether the run was stopped, by a person or an error, before it ended. */
export const stopped = signal(false);
export const requestError = signal<RequestError | null>(null);
/** Columns that the model does not have. */
export const ignored = signal<string[]>([]);
/** The time that one explained row took, as of the last batch. */
export const msPerRow = signal(0);

/** What is explained. key: equal for equal questions. */
export const question = computed((): Question & { key: string } => {
  const shown = model.value;
  const chosen = output.value ?? (shown ? (outputs(shown)[0] ?? "") : "");
  const { instead_of: insteadOf, ...options } = explainOptions.value as { instead_of?: string; scale?: string };
  const key = JSON.stringify([chosen, explainOptions.value, eachSecond.value]);
  if (!eachSecond.value) return { key, outputOf: () => ({ output: chosen, insteadOf }), options };
  const outputOf = ({ prediction = {} }: Row) => ({ output: prediction.label ?? chosen, insteadOf: secondLabel(prediction) });
  return { key, outputOf, options: { ...options, scale: undefined } };
});

export const isLacking = (row: Row) => row.prediction !== undefined && row.fault === undefined && !row.why;

export class Run {
  /** Whether all rows are explained, and not only those in view and of the pictures. */
  isWhole = false;
  private readonly control = new AbortController();
  private explaining = new AbortController();
  private asked = question.peek();
  private loop: Promise<void> | undefined;
  private isPredicted = false;
  private isShown = false;

  constructor(private readonly name: string) {}

  get isOver() {
    return this.control.signal.aborted;
  }

  stop() {
    this.control.abort();
    this.explaining.abort();
  }

  /** Raises Error for an unreadable table, and RequestError. */
  async execute() {
    progress.value = { kind: "reading", done: 0, total: 0 };
    const { rows, ignored: columns } = await readInput();
    if (this.isOver) return;
    [ignored.value, results.value] = [columns, { rows }];
    const waiting = rows.filter((row) => row.fault === undefined);
    let told = Number.NEGATIVE_INFINITY;
    const tell = (waitReason?: string) => {
      const done = waiting.filter((row) => row.prediction || row.fault !== undefined).length;
      progress.value = { kind: "predicting", done, total: waiting.length, waitReason };
      if (done === 0 || performance.now() - told < TELL_MS) return;
      told = performance.now();
      results.value = { rows };
    };
    tell();
    await predictRows(this.job(this.control.signal, tell), waiting);
    this.isPredicted = true;
    results.value = { rows };
    await this.explain(true);
  }

  /** Explain what is needed and not explained. isShown: show the progress. Raises RequestError. */
  async explain(isShown = false) {
    this.isShown ||= isShown;
    this.tell(0);
    const loop = (this.loop ??= this.explainNeeded(this.explaining.signal));
    try {
      await loop;
    } finally {
      if (this.loop === loop) [this.loop, this.isShown] = [undefined, false];
    }
  }

  /** Forget the explanations if the question has changed. Returns whether it has. */
  renew(): boolean {
    if (this.asked.key === question.peek().key) return false;
    this.explaining.abort();
    [this.asked, this.explaining, this.loop] = [question.peek(), new AbortController(), undefined];
    for (const row of results.peek()?.rows ?? []) row.why = undefined;
    explained.value = explained.peek() + 1;
    return true;
  }

  private async explainNeeded(signal: AbortSignal) {
    const asked = this.asked;
    const job = this.job(signal, (waitReason) => this.tell(0, waitReason));
    for (let rows = this.needed(); rows.length; rows = this.needed()) {
      const began = performance.now();
      await explainRows(job, rows, asked, (part) => this.tell(part));
      if (signal.aborted) return;
      msPerRow.value = (performance.now() - began) / rows.length;
      explained.value++;
      if (rows.some((row) => row.fault !== undefined)) results.value = { rows: results.peek()?.rows ?? [] };
    }
  }

  private needed(): Row[] {
    const inView = view.peek() === "table" ? shownLines.peek().filter(isLacking) : [];
    if (inView.length || !this.isPredicted) return inView;
    return this.target().filter(isLacking).slice(0, eachSecond.peek() ? EXPLAINED_EACH : EXPLAINED);
  }

  private target(): Row[] {
    return this.isWhole ? predictedRows.peek() : pictured.peek();
  }

  /** part: how many rows of the running batch are explained. */
  private tell(part: number, waitReason?: string) {
    if (!this.isPredicted || !this.isShown) return;
    const target = this.target();
    const done = Math.min(target.length, part + target.filter((row) => row.why).length);
    progress.value = { kind: "explaining", done, total: target.length, waitReason };
  }

  private job(signal: AbortSignal, onChange: Job["onChange"]): Job {
    return { model: this.name, fields: modelFields.peek(), signal, onChange };
  }
}

