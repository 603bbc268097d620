/** The table on the page: its rows, and which of them are listed. It is kept while one of its rows is open. */
import { computed, signal } from "@preact/signals";

import { modelFields, opened } from "../state";
import { contributions, type Contribution } from "../why/contributions";
import { bySize } from "../why/reasons";
import { labelOf, scoreOf, type Row } from "./rows";

/** A larger table is predicted as a whole, but only this many rows, evenly spread, are explained for the pictures. */
const WHOLE = 1000;
const SPREAD = 500;
const ROWS_PER_PAGE = 50;

/** The rows of the last run. They are filled in place: a new object says that predictions were added. */
export const results = signal<{ rows: Row[] } | null>(null);
/** Counts changes of explanations. They are apart from results, so that an explanation does not sort the table again. */
export const explained = signal(0);

export type Column = "line" | "prediction" | "score" | "reasons";
export const sorting = signal<{ column: Column; down: boolean }>({ column: "line", down: false });
/** A label, or all rows, or the refused ones. */
export const filter = signal<{ kind: "all" | "refused" | "label"; label?: string }>({ kind: "all" });
export const page = signal(0);
/** Whether each row's label is explained instead of its second most likely one. */
export const eachSecond = signal(false);

export const predictedRows = computed(() => (results.value?.rows ?? []).filter((row) => row.prediction && row.fault === undefined));
export const refusedRows = computed(() => (results.value?.rows ?? []).filter((row) => row.fault !== undefined));

/** The rows of the pictures: all of them, or of a large table some that are evenly spread. */
export const pictured = computed(() => spread((results.value?.rows ?? []).length > WHOLE ? SPREAD : WHOLE, predictedRows.value));
export const isLarge = computed(() => (results.value?.rows ?? []).length > WHOLE);
export const allExplained = computed(() => (explained.value, predictedRows.value.every((row) => row.why)));

/** The labels among the predictions, with their number of rows. */
export const labels = computed(() => {
  const counts = new Map<string, number>();
  for (const { prediction } of predictedRows.value) {
    const label = prediction && labelOf(prediction);
    if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return [...counts].sort(([one], [other]) => one.localeCompare(other));
});

/** The filtered rows in the chosen order. Rows without the value to sort by are at the end. */
export const lines = computed((): Row[] => {
  const { kind, label } = filter.value;
  const { column, down } = sorting.value;
  if (column === "reasons") void explained.value;
  const isShown = ({ prediction }: Row) => kind !== "label" || (prediction !== undefined && labelOf(prediction) === label);
  const found = [...(kind === "refused" ? [] : predictedRows.value.filter(isShown)), ...(kind === "label" ? [] : refusedRows.value)];
  const value = ({ line, prediction, why, fault }: Row): number | string => {
    if (column === "line") return line;
    if (!prediction || fault !== undefined) return column === "prediction" ? "\uffff" : Number.POSITIVE_INFINITY;
    if (column === "prediction") return labelOf(prediction) || scoreOf(prediction);
    return column === "score" ? scoreOf(prediction) : (why?.largest ?? 0);
  };
  const keyed = found.map((row) => ({ row, key: value(row) }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.row.line - b.row.line));
  const sorted = keyed.map(({ row }) => row);
  return down ? sorted.reverse() : sorted;
});

export const pages = computed(() => Math.max(1, Math.ceil(lines.value.length / ROWS_PER_PAGE)));
export const shownPage = computed(() => Math.min(page.value, pages.value - 1));
/** The rows in view. */
export const shownLines = computed(() => lines.value.slice(shownPage.value * ROWS_PER_PAGE, (shownPage.value + 1) * ROWS_PER_PAGE));

/** The place of the open row among the listed ones; -1 if it is not listed. */
export const openedPlace = computed(() => (opened.value === null ? -1 : lines.value.findIndex(({ line }) => line === opened.value)));

/** The largest reasons of an explained row. */
export function topReasons({ why, typed }: Row, most = 3): Contribution[] {
  return why ? bySize(contributions(modelFields.value, why.explained, typed)).filter((one) => one.value !== 0).slice(0, most) : [];
}

/** At most `most` rows, evenly spread. */
export function spread<T>(most: number, rows: T[]): T[] {
  return rows.length <= most ? rows : Array.from({ length: most }, (_, at) => rows[Math.floor((at * rows.length) / most)]).filter((row) => row !== undefined);
}
