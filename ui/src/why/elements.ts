/** What the credit is shared among, in the order of the row: features, steps, tokens; an image as a whole. */
import { flat, sum, type Explained, type Nested } from "../api/answer";
import { toRow, type Field, type Typed } from "../model";
import { plain } from "../words";

export interface Element {
  key: string;
  label: string;
  value: number;
  error?: number;
}

export function elements(fields: Field[], { attributions, standard_errors }: Explained, typed: Typed): Element[] {
  const alone = fields.length === 1;
  const seen = new Set<string>();
  return fields.flatMap((field) => {
    const key = field.group ?? field.key;
    if (seen.has(key)) return [];
    seen.add(key);
    const [given, errors] = [attributions[key] ?? 0, standard_errors?.[key]];
    if (field.kind === "number" || field.kind === "category") {
      return [{ key, label: field.group ?? `${key} = ${said(field, typed)}`, value: Number(given), error: errors as number | undefined }];
    }
    const parts = Array.isArray(given) ? given : [given];
    if (alone && field.kind !== "image") return steps(field, parts, Array.isArray(errors) ? errors : [], typed);
    return [{ key, label: `${key}, all ${flat(parts).length} values`, value: sum(flat(parts)) }];
  });
}

function said(field: Field, typed: Typed): string {
  return [typed[field.key] || "nothing", field.unit].filter(Boolean).join(" ");
}

function steps(field: Field, parts: Nested[], errors: Nested[], typed: Typed): Element[] {
  const row = toRow([field], typed)[field.key];
  const values: unknown[] = Array.isArray(row) ? row : [];
  return parts.map((part, place) => {
    const value = values[place];
    const label = `${field.key}[${place}]` + (typeof value === "number" ? ` = ${plain(value)}` : "");
    const error = errors[place];
    return { key: `${field.key}[${place}]`, label, value: sum(flat(part)), error: typeof error === "number" ? error : undefined };
  });
}

/** The largest, and what the rest come to together. kept: labels that are shown in any case, and in this order. */
export function folded(all: Element[], most: number): { shown: Element[]; rest: Element | null } {
  const sorted = [...all].sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  if (sorted.length <= most + 1) return { shown: sorted, rest: null };
  const [shown, others] = [sorted.slice(0, most), sorted.slice(most)];
  return { shown, rest: { key: "", label: `${others.length} others together`, value: sum(others.map((one) => one.value)) } };
}
