/** The table on the page: its text, its run and its results. They are kept while one of its rows is open. */
import { computed, signal } from "@preact/signals";
import { csvFormatRows } from "d3-dsv";

import { RequestError } from "../api/client";
import { outputs } from "../model";
import { current, explainOptions, model, modelFields, opened, output, start, view } from "../state";
import { words } from "../texts";
import { bySize } from "../why/reasons";
import { contributions, type Contribution } from "../why/contributions";
import { explainAll, type Refused, type Results } from "./batches";
import { fromCells, labelOf, readTable, scoreOf, type Row, type Table } from "./rows";

export const text = signal("");
/** A table from a Parquet file, which has no text. */
const binary = signal<{ head: string[]; rows: unknown[][] } | null>(null);
/** The model that the text is for. The text is replaced only when the model changes. */
const textModel = signal("");
export const running = signal<AbortController | null>(null);
export const total = signal(0);
export const results = signal<Results | null>(null);
export const inputError = signal("");
export const ignored = signal<string[]>([]);
export const requestError = signal<RequestError | null>(null);

export type Column = "line" | "prediction" | "score" | "reasons";
export const sorting = signal<{ column: Column; down: boolean }>({ column: "line", down: false });
/** A label, or all rows, or the refused ones. */
export const filter = signal<{ kind: "all" | "refused" | "label"; label?: string }>({ kind: "all" });
export const page = signal(0);

/** A line of the table of results: an explained row, or a refused one. */
export interface Line {
  id: string;
  line: number;
  row?: Row;
  refused?: Refused;
}

/** The largest reasons of a row. */
export function topReasons(row: Row, most = 3): Contribution[] {
  return bySize(contributions(modelFields.value, row.explained, row.typed)).filter((one) => one.value !== 0).slice(0, most);
}

/** The labels among the results, with their number of rows. */
export const labels = computed(() => {
  const counts = new Map<string, number>();
  for (const row of results.value?.rows ?? []) {
    const label = labelOf(row.prediction);
    if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return [...counts].sort(([one], [other]) => one.localeCompare(other));
});

/** The filtered lines in the chosen order. */
export const lines = computed((): Line[] => {
  const { rows = [], errors = [] } = results.value ?? {};
  const { kind, label } = filter.value;
  const explained = kind === "refused" ? [] : rows.filter((row) => kind === "all" || labelOf(row.prediction) === label);
  const refused = kind === "label" ? [] : errors;
  const all: Line[] = [...explained.map((row) => ({ id: row.id, line: row.line, row })), ...refused.map((one) => ({ id: one.id, line: one.line, refused: one }))];
  const { column, down } = sorting.value;
  const value = ({ line, row }: Line): number | string => {
    if (column === "line") return line;
    if (!row) return column === "prediction" ? "\uffff" : Number.POSITIVE_INFINITY;
    if (column === "prediction") return labelOf(row.prediction) || scoreOf(row.prediction);
    return column === "score" ? scoreOf(row.prediction) : Math.abs(topReasons(row, 1)[0]?.value ?? 0);
  };
  const keyed = all.map((one) => ({ one, key: value(one) }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.one.line - b.one.line));
  const sorted = keyed.map(({ one }) => one);
  return down ? sorted.reverse() : sorted;
});

/** Show a line as one row, or close the open row. */
export function openLine(place: number | null) {
  const row = place === null ? undefined : lines.value[place]?.row;
  if (place === null || !row) return void ([opened.value, view.value] = [null, "table"]);
  [start.value, current.value, opened.value, view.value] = [row.typed, row.typed, place, "row"];
}

/** The initial table: the column names and the form's row, or the example as JSON for other kinds of input. */
function template(): string {
  const tabular = modelFields.value.every((field) => ["number", "category", "text"].includes(field.kind));
  if (!tabular) return JSON.stringify(model.value?.example.instances ?? []);
  const keys = modelFields.value.map((field) => field.key);
  return csvFormatRows([keys, keys.map((key) => current.value[key] ?? "")]);
}

export function resetFor(name: string) {
  if (textModel.value === name) return;
  stop();
  [text.value, textModel.value, results.value, inputError.value, requestError.value, opened.value, binary.value] = [template(), name, null, "", null, null, null];
}

export function setTable(written: string) {
  [text.value, binary.value] = [written, null];
}

/** Read a file into the table: CSV or JSON as text, Parquet as cells. */
export async function takeFile(file: File | undefined) {
  if (!file) return;
  inputError.value = "";
  try {
    if (!/\.(parquet|pq)$/i.test(file.name)) return setTable(await readText(file));
    const { readParquet } = await import("./parquet");
    binary.value = await readParquet(file);
    text.value = csvFormatRows([binary.value.head, ...binary.value.rows.slice(0, 20).map((row) => row.map((cell) => String(cell ?? "")))]);
  } catch (error) {
    inputError.value = words.table.noFile(file.name, (error as Error).message);
  }
}

/** The text of a file in UTF-8 or, with its mark, in UTF-16. */
async function readText(file: File): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const name = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
  return new TextDecoder(name, { fatal: true }).decode(bytes);
}

function readInput(): Table {
  return binary.value ? fromCells(binary.value.head, binary.value.rows, modelFields.value) : readTable(text.value, modelFields.value);
}

export async function explainRows() {
  const shown = model.value;
  if (!shown) return;
  [inputError.value, requestError.value, results.value, page.value, filter.value] = ["", null, null, 0, { kind: "all" }];
  const control = new AbortController();
  try {
    const table = readInput();
    [total.value, ignored.value, running.value] = [table.rows.length, table.ignored, control];
    const wanted = output.value ?? outputs(shown)[0] ?? "";
    await explainAll({
      model: shown.spec.name, output: wanted, options: { ...explainOptions.value, samples: undefined, instead_of: undefined },
      fields: modelFields.value, rows: table.rows, signal: control.signal, onChange: (state) => (results.value = state),
    });
  } catch (error) {
    if (control.signal.aborted) return;
    if (error instanceof RequestError) requestError.value = error;
    else inputError.value = (error as Error).message;
  } finally {
    if (running.value === control) running.value = null;
  }
}

export function stop() {
  running.value?.abort();
  running.value = null;
}
