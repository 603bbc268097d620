/** Reads rows from CSV or JSON, and writes explanations as CSV. */
import { csvFormatRows, dsvFormat } from "d3-dsv";

import { contributions, type Contribution } from "../why/contributions";
import { written } from "../numbers";
import { words } from "../texts";
import { fromRow, type Field, type TypedRow } from "../model";
import { sum, type OutputExplanation, type Prediction, type ScaleName } from "../api/answer";

/** A row to explain. fault: why it cannot be sent. */
export interface InputRow {
  /** The cell of the id column, or else the position below the header. */
  id: string;
  typed: TypedRow;
  fault?: string;
}

export interface Table {
  rows: InputRow[];
  /** Columns that the model does not have. */
  ignored: string[];
}

/** Raises Error with a message for the person at the page. */
export function readTable(text: string, fields: Field[]): Table {
  const trimmed = text.trim();
  if (!trimmed) throw new Error(words.table.noRows);
  if (trimmed.startsWith("[") || trimmed.startsWith("{")) return readJson(trimmed, fields);
  // parseRows, not parse: parse builds objects with generated code, which the Content-Security-Policy blocks.
  const [head = [], ...rows] = dsvFormat(delimiter(trimmed)).parseRows(trimmed);
  return fromCells(head, rows, fields);
}

/** A table of cells under a line of column names. Raises Error. */
export function fromCells(head: string[], rows: unknown[][], fields: Field[]): Table {
  const known = new Map(fields.map((field) => [field.key, field]));
  const columns = head.map((name) => name.trim());
  if (!columns.some((name) => known.has(name))) throw new Error(words.table.head(`${[...known.keys()].slice(0, 6).join(", ")}${known.size > 6 ? ", …" : ""}`));
  if (!rows.length) throw new Error(words.table.headOnly);
  const at = columns.findIndex((name) => !known.has(name) && /^(id|.*_id|.*Id|nr|no|number|key)$/i.test(name));
  const read = rows.map((row, place): InputRow => {
    const typed = Object.fromEntries(columns.map((name, column) => [name, cellText(row[column])]));
    const extra = row.slice(columns.length).some((cell) => cellText(cell));
    const id = (at >= 0 && cellText(row[at])) || String(place + 1);
    return { id, typed, fault: extra || row.length < columns.length ? words.table.cells(row.length, columns.length) : undefined };
  });
  return { rows: read, ignored: columns.filter((name) => name && !known.has(name)) };
}

function cellText(cell: unknown): string {
  if (cell === null || cell === undefined) return "";
  return typeof cell === "number" ? written(cell) : String(cell).trim();
}

function readJson(text: string, fields: Field[]): Table {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new Error(words.table.noJson((error as Error).message));
  }
  const held = Array.isArray(read) ? read : ((read as { instances?: unknown }).instances ?? [read]);
  if (!Array.isArray(held) || !held.length || held.some((row) => typeof row !== "object" || row === null)) throw new Error(words.table.jsonRows);
  const known = new Set(fields.map((field) => field.key));
  const names = new Set(held.flatMap((row: object) => Object.keys(row)));
  const rows = held.map((row: Record<string, unknown>, place) => ({ id: typeof row.id === "string" || typeof row.id === "number" ? String(row.id) : String(place + 1), typed: fromRow(fields, row) }));
  return { rows, ignored: [...names].filter((name) => !known.has(name)) };
}

/** The most frequent delimiter of the first line. */
function delimiter(text: string): string {
  const [first = ""] = text.split("\n", 1);
  const count = (one: string) => first.split(one).length;
  return [",", ";", "\t"].reduce((best, one) => (count(one) > count(best) ? one : best));
}

/** A row that was explained. */
export interface Row {
  id: string;
  typed: TypedRow;
  /** The row's position below the header, counted from 1. */
  line: number;
  explained: OutputExplanation;
  prediction: Prediction;
  scale?: ScaleName;
  /** Why the explanation is not reliable. */
  unreliable?: string;
}

/** The score of the predicted label, or the predicted number. */
export function scoreOf({ label, scores, value, values }: Prediction): number {
  return (label === undefined ? undefined : scores?.[label]) ?? value ?? Object.values(values ?? scores ?? {})[0] ?? Number.NaN;
}

/** The label, or all labels, or nothing for a number. */
export function labelOf({ label, labels }: Prediction): string {
  return label ?? labels?.join(", ") ?? "";
}

/** Columns: row, id, prediction, every output's score, the explained output, its attributions, residual. */
export function writeCsv(fields: Field[], rows: Row[]): string {
  const shares = rows.map((row) => contributions(fields, row.explained, row.typed));
  // Each text has its own tokens, and a token can occur twice.
  const names = [...new Set(shares.flatMap((all) => all.map((one) => one.key)))];
  const share = (all: Contribution[], name: string) => {
    const found = all.filter((one) => one.key === name);
    return found.length ? String(sum(found.map((one) => one.value))) : "";
  };
  const outputs = Object.keys(rows[0]?.prediction.scores ?? rows[0]?.prediction.values ?? {});
  const head = ["row", "id", "prediction", ...outputs.map((name) => `score ${name}`), "output", "value", "base_value", ...names, "residual"];
  const cells = rows.map(({ id, line, explained, prediction }, place) => [
    String(line), id, labelOf(prediction) || String(scoreOf(prediction)),
    ...outputs.map((name) => String((prediction.scores ?? prediction.values)?.[name] ?? "")),
    explained.output, String(explained.value), String(explained.base_value),
    ...names.map((name) => share(shares[place] ?? [], name)), String(explained.residual),
  ]);
  return csvFormatRows([head.map(harmless), ...cells.map((line) => line.map(harmless))]);
}

/** A cell that a spreadsheet does not read as a formula. */
function harmless(cell: string): string {
  return /^[=+@\t\r]|^-(?!\d|\.\d|Infinity)/.test(cell) ? `'${cell}` : cell;
}
