/** Reads rows from CSV or JSON, and writes explanations as CSV. */
import { csvFormatRows, dsvFormat } from "d3-dsv";

import { contributions, type Contribution } from "../why/contributions";
import { fromRow, type Field, type TypedRow } from "../model";
import { sum, type OutputExplanation, type Prediction } from "../api/answer";

export interface Table {
  rows: TypedRow[];
  /** Columns that the model does not have. */
  ignored: string[];
}

/** Raises Error with a message for the person at the page. */
export function readTable(text: string, fields: Field[]): Table {
  const trimmed = text.trim();
  if (!trimmed) throw new Error("There are no rows: paste a header line and a line a row, or choose a file.");
  if (trimmed.startsWith("[") || trimmed.startsWith("{")) return readJson(trimmed, fields);
  // parseRows, not parse: parse builds objects with generated code, which the Content-Security-Policy blocks.
  const [head = [], ...rows] = dsvFormat(delimiter(trimmed)).parseRows(trimmed);
  const known = new Set(fields.map((field) => field.key));
  const columns = head.map((name) => name.trim());
  if (!columns.some((name) => known.has(name))) throw new Error(`The first line must name the columns: ${[...known].slice(0, 6).join(", ")}${known.size > 6 ? ", …" : ""}.`);
  if (!rows.length) throw new Error("There are names of columns, and no rows below them.");
  const typed = rows.map((row) => Object.fromEntries(columns.map((name, place) => [name, (row[place] ?? "").trim()])));
  return { rows: typed, ignored: columns.filter((name) => name && !known.has(name)) };
}

function readJson(text: string, fields: Field[]): Table {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new Error(`This begins as JSON and is not: ${(error as Error).message}.`);
  }
  const held = Array.isArray(read) ? read : ((read as { instances?: unknown }).instances ?? [read]);
  if (!Array.isArray(held) || !held.length || held.some((row) => typeof row !== "object" || row === null)) throw new Error("JSON must be a list of rows: [{…}, {…}].");
  const known = new Set(fields.map((field) => field.key));
  const names = new Set(held.flatMap((row: object) => Object.keys(row)));
  return { rows: held.map((row: Record<string, unknown>) => fromRow(fields, row)), ignored: [...names].filter((name) => !known.has(name)) };
}

/** The most frequent delimiter of the first line. */
function delimiter(text: string): string {
  const [first = ""] = text.split("\n", 1);
  const count = (one: string) => first.split(one).length;
  return [",", ";", "\t"].reduce((best, one) => (count(one) > count(best) ? one : best));
}

export interface Row {
  typed: TypedRow;
  /** The row's position below the header, counted from 1. */
  line: number;
  explained: OutputExplanation;
  prediction: Prediction;
}

export function writeCsv(fields: Field[], rows: Row[]): string {
  const shares = rows.map((row) => contributions(fields, row.explained, row.typed));
  // Each text has its own tokens, and a token can occur twice.
  const names = [...new Set(shares.flatMap((all) => all.map((one) => one.key)))];
  const share = (all: Contribution[], name: string) => {
    const found = all.filter((one) => one.key === name);
    return found.length ? String(sum(found.map((one) => one.value))) : "";
  };
  const head = ["row", "output", "value", "base_value", ...names, "residual"];
  return csvFormatRows([
    head,
    ...rows.map(({ line, explained }, place) => [
      String(line), explained.output, String(explained.value), String(explained.base_value),
      ...names.map((name) => share(shares[place] ?? [], name)), String(explained.residual),
    ]),
  ]);
}
