/** Predicted and explained rows as a CSV file. */
import type { Field } from "../model";
import { Pace } from "../pace";
import { contributions } from "../why/contributions";
import { toCsv } from "./csv";
import { labelOf, scoreOf, type Row } from "./rows";

/**
 * The parts of the file. Columns: row, id, prediction, every output's score, and of explained rows the explained output,
 * its attributions and its residual.
 */
export async function csvParts(fields: Field[], rows: Row[]): Promise<string[]> {
  const pace = new Pace();
  // Each text has its own tokens, so rows differ in the names of their attributions.
  const found = new Set<string>();
  for (const { why, typed } of rows) {
    if (pace.due()) await pace.rest();
    if (why) for (const { key } of contributions(fields, why.explained, typed)) found.add(key);
  }
  const names = [...found];
  const outputs = Object.keys(rows[0]?.prediction?.scores ?? rows[0]?.prediction?.values ?? {});
  const head = ["row", "id", "prediction", ...outputs.map((name) => `score ${name}`), "output", "instead_of", "value", "base_value", ...names, "residual"];
  const parts = [toCsv([head.map(harmless)])];
  for (const row of rows) {
    if (pace.due()) await pace.rest();
    parts.push(`\n${toCsv([[...predicted(row, outputs), ...explained(row, names, fields)].map(harmless)])}`);
  }
  return parts;
}

function predicted({ id, line, prediction = {} }: Row, outputs: string[]): string[] {
  const { scores, values } = prediction;
  return [String(line), id, labelOf(prediction) || String(scoreOf(prediction)), ...outputs.map((name) => String((scores ?? values)?.[name] ?? ""))];
}

function explained({ typed, why }: Row, names: string[], fields: Field[]): string[] {
  if (!why) return Array.from({ length: names.length + 5 }, () => "");
  const { output, value, base_value: base, residual } = why.explained;
  const shares = new Map<string, number>();
  for (const one of contributions(fields, why.explained, typed)) shares.set(one.key, (shares.get(one.key) ?? 0) + one.value);
  return [output, why.insteadOf ?? "", String(value), String(base), ...names.map((name) => String(shares.get(name) ?? "")), String(residual)];
}

/** A cell that a spreadsheet does not read as a formula. */
function harmless(cell: string): string {
  return /^[=+@\t\r]|^-(?!\d|\.\d|Infinity)/.test(cell) ? `'${cell}` : cell;
}
