/** What the credit is shared among, in the order of the row: features, steps, tokens; an image as a whole. */
import { flat, isTokens, sum, type Explained, type Nested, type Token } from "../api/answer";
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
    if (isTokens(given)) {
      const pieces = written(given, typed[key] ?? "");
      if (alone) return pieces.map(({ name, label, value }, place) => ({ key: name, label, value, error: isTokens(errors) ? errors[place]?.value : undefined }));
      return [{ key, label: `${key}, all ${pieces.length} pieces`, value: sum(pieces.map((one) => one.value)) }];
    }
    const parts = (Array.isArray(given) ? given : [given]) as Nested[];
    if (alone && field.kind !== "image") return steps(field, parts, Array.isArray(errors) ? (errors as Nested[]) : [], typed);
    return [{ key, label: `${key}, all ${flat(parts).length} values`, value: sum(flat(parts)) }];
  });
}

export interface Piece extends Token {
  /** Its letters as they stand in the text; none where it stands for none. */
  letters: string;
  /** What it is in any text. */
  name: string;
  /** What it is in this one: no other piece's. */
  label: string;
}

/** Tokens with their letters. The service counts code points, and JavaScript half of those beyond the first 65,536. */
export function written(tokens: Token[], text: string): Piece[] {
  const points = [...text];
  const seen = new Map<string, number>();
  return tokens.map((one) => {
    const letters = points.slice(one.start, one.end).join("");
    const name = letters.trim() ? `“${letters.trim()}”` : lettersless(one);
    const nth = (seen.get(name) ?? 0) + 1;
    seen.set(name, nth);
    return { ...one, letters, name, label: nth > 1 ? `${name} (${nth})` : name };
  });
}

function lettersless({ token, start, end }: Token): string {
  return start === end && /pad/i.test(token) ? "nothing more" : token.replace(/[▁Ġ\s]/g, "␣") || "␣";
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
