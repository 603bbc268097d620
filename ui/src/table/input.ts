/** What a person gives as a table: text in the field, or a file of which the field shows the beginning. */
import { signal } from "@preact/signals";

import { current, model, modelFields } from "../state";
import { words } from "../texts";
import { toCsv } from "./csv";
import type { Cells } from "./parquet";
import { fromColumns, readTable, type Table } from "./rows";

/** A field with more text than this is slow. */
const SHOWN_CHARACTERS = 100_000;
const SHOWN_LINES = 20;

/** The text in the field. */
export const text = signal("");
/** A table that is not whole in the field: the text of a long file, or the cells of a Parquet file. */
export const held = signal<{ name: string; content: string | Cells } | null>(null);
export const inputError = signal("");

/** The initial table: the column names and the form's row, or the example as JSON for other kinds of input. */
export function resetInput() {
  const tabular = modelFields.value.every((field) => ["number", "category", "text"].includes(field.kind));
  const keys = modelFields.value.map((field) => field.key);
  setText(tabular ? toCsv([keys, keys.map((key) => current.value[key] ?? "")]) : JSON.stringify(model.value?.example.instances ?? []));
}

export function setText(written: string) {
  [text.value, held.value, inputError.value] = [written, null, ""];
}

/** Returns whether the text was too long for the field and is held beside it. */
export function holdLong(name: string, content: string): boolean {
  if (content.length <= SHOWN_CHARACTERS) return false;
  const shown = content.slice(0, SHOWN_CHARACTERS).split("\n", SHOWN_LINES + 1).join("\n");
  [text.value, held.value, inputError.value] = [shown.slice(0, SHOWN_CHARACTERS / 10), { name, content }, ""];
  return true;
}

/** Take the table of a file: CSV or JSON as text, or the cells of Parquet. */
export async function takeFile(file: File | undefined) {
  if (!file) return;
  try {
    if (/\.(parquet|pq)$/i.test(file.name)) {
      const { readParquet } = await import("./parquet");
      const content = await readParquet(file);
      const rows = Array.from({ length: Math.min(SHOWN_LINES, content.columns[0]?.length ?? 0) }, (_, row) => content.columns.map((column) => String(column[row] ?? "")));
      [text.value, held.value, inputError.value] = [toCsv([content.head, ...rows]), { name: file.name, content }, ""];
    } else {
      const content = await readText(file);
      if (!holdLong(file.name, content)) setText(content);
    }
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

/** Raises Error with a message for the person at the page. */
export function readInput(): Promise<Table> {
  const content = held.value?.content ?? text.value;
  return typeof content === "string" ? readTable(content, modelFields.value) : fromColumns(content, modelFields.value);
}
