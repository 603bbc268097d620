/** Rows as people have them, CSV or JSON, and back. */
import { csvFormatRows, dsvFormat } from "d3-dsv";

import { elements, type Element } from "../why/elements";
import { fromRow, type Field, type Typed } from "../model";
import { sum, type Explained, type Prediction } from "../api/answer";

export interface Table {
  rows: Typed[];
  /** Columns that the model does not know; they are left out, and said to be. */
  ignored: string[];
}

/** Raises Error, in words for people. */
export function readTable(text: string, fields: Field[]): Table {
  const trimmed = text.trim();
  if (!trimmed) throw new Error("There are no rows: paste a header line and a line a row, or choose a file.");
  if (trimmed.startsWith("[") || trimmed.startsWith("{")) return readJson(trimmed, fields);
  // As rows of cells: d3's objects are made by code that is made on the spot, which the page's policy refuses.
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

/** What stands most often between the names of the first line. */
function delimiter(text: string): string {
  const [first = ""] = text.split("\n", 1);
  const count = (one: string) => first.split(one).length;
  return [",", ";", "\t"].reduce((best, one) => (count(one) > count(best) ? one : best));
}

export interface Row {
  typed: Typed;
  /** The line that it stands in, counted from 1 below the header. */
  line: number;
  explained: Explained;
  prediction: Prediction;
}

export function writeCsv(fields: Field[], rows: Row[]): string {
  const shares = rows.map((row) => elements(fields, row.explained, row.typed));
  // Texts have pieces of their own, and some of them twice.
  const names = [...new Set(shares.flatMap((all) => all.map((one) => one.key)))];
  const share = (all: Element[], name: string) => {
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
