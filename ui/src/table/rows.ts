/** The rows of a table, read from CSV, JSON or Parquet. */
import type { Answer, OutputExplanation, Prediction } from "../api/answer";
import { ambiguities, fromRow, type Field, type TypedRow } from "../model";
import { written } from "../numbers";
import { Pace } from "../pace";
import { words } from "../texts";
import { csvRows, delimiterOf } from "./csv";
import type { Cells } from "./parquet";

/** A row of the table. It is read, then predicted or refused, then explained. */
export interface Row {
  /** The cell of the id column, or else the position below the header. */
  id: string;
  /** The position below the header, counted from 1. */
  line: number;
  typed: TypedRow;
  /** Why the row was refused. */
  fault?: string;
  prediction?: Prediction;
  why?: Reasons;
}

export type Terms = Pick<Answer, "method" | "background" | "scale" | "reliable_reason">;

/** The explanation of a row. */
export interface Reasons {
  explained: OutputExplanation;
  /** The output that the explained one is compared with. */
  insteadOf?: string;
  /** The terms of the answer, shared by its rows. */
  terms: Terms;
  /** The largest |effect|. */
  largest: number;
}

export interface Table {
  rows: Row[];
  /** Columns that the model does not have. */
  ignored: string[];
}

/** Raises Error with a message for the person at the page. */
export async function readTable(text: string, fields: Field[]): Promise<Table> {
  const trimmed = text.trim();
  if (!trimmed) throw new Error(words.table.noRows);
  if (trimmed.startsWith("[") || trimmed.startsWith("{")) return readJson(trimmed, fields);
  const rows = csvRows(trimmed, delimiterOf(trimmed));
  const first = rows.next();
  return fromCells(first.done ? [] : first.value, rows, fields);
}

export function fromColumns({ head, columns }: Cells, fields: Field[]): Promise<Table> {
  function* rows() {
    for (let row = 0; row < (columns[0]?.length ?? 0); row++) yield columns.map((column) => column[row]);
  }
  return fromCells(head, rows(), fields);
}

/** A table of cells under a line of column names. Raises Error. */
async function fromCells(head: string[], cells: Iterable<unknown[]>, fields: Field[]): Promise<Table> {
  const known = new Set(fields.map((field) => field.key));
  const columns = head.map((name) => name.trim());
  if (!columns.some((name) => known.has(name))) throw new Error(words.table.head(`${[...known].slice(0, 6).join(", ")}${known.size > 6 ? ", …" : ""}`));
  const idAt = columns.findIndex((name) => !known.has(name) && /^(id|.*_id|.*Id|nr|no|number|key)$/i.test(name));
  const kept = columns.flatMap((name, column): [string, number][] => (known.has(name) ? [[name, column]] : []));
  const [rows, pace]: [Row[], Pace] = [[], new Pace()];
  for (const row of cells) {
    if (pace.due()) await pace.rest();
    const typed: TypedRow = {};
    for (const [name, column] of kept) typed[name] = cellText(row[column]);
    const id = (idAt >= 0 && cellText(row[idAt])) || String(rows.length + 1);
    const shifted = row.length < columns.length || row.slice(columns.length).some((cell) => cellText(cell));
    rows.push({ id, line: rows.length + 1, typed, fault: shifted ? words.table.cells(row.length, columns.length) : ambiguity(fields, typed) });
  }
  if (!rows.length) throw new Error(words.table.headOnly);
  return { rows, ignored: columns.filter((name) => name && !known.has(name)) };
}

/** The fault of a row that holds a number with two readings. */
function ambiguity(fields: Field[], typed: TypedRow): string | undefined {
  const [first] = Object.entries(ambiguities(fields, typed));
  return first && `${first[0]}: ${first[1]}`;
}

function cellText(cell: unknown): string {
  if (cell === null || cell === undefined) return "";
  return typeof cell === "number" ? written(cell) : String(cell).trim();
}

async function readJson(text: string, fields: Field[]): Promise<Table> {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new Error(words.table.noJson((error as Error).message));
  }
  const held = Array.isArray(read) ? read : ((read as { instances?: unknown }).instances ?? [read]);
  if (!Array.isArray(held) || !held.length || held.some((row) => typeof row !== "object" || row === null)) throw new Error(words.table.jsonRows);
  const known = new Set(fields.map((field) => field.key));
  const ignored = new Set<string>();
  const [rows, pace]: [Row[], Pace] = [[], new Pace()];
  for (const row of held as Record<string, unknown>[]) {
    if (pace.due()) await pace.rest();
    for (const name of Object.keys(row)) if (!known.has(name)) ignored.add(name);
    const typed = fromRow(fields, row);
    const id = typeof row.id === "string" || typeof row.id === "number" ? String(row.id) : String(rows.length + 1);
    rows.push({ id, line: rows.length + 1, typed, fault: ambiguity(fields, typed) });
  }
  return { rows, ignored: [...ignored] };
}

/** The score of the predicted label, or the predicted number. */
export function scoreOf({ label, scores, value, values }: Prediction): number {
  return (label === undefined ? undefined : scores?.[label]) ?? value ?? Object.values(values ?? scores ?? {})[0] ?? Number.NaN;
}

/** The label, or all labels, or nothing for a number. */
export function labelOf({ label, labels }: Prediction): string {
  return label ?? labels?.join(", ") ?? "";
}
