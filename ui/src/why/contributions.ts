/**
 * The contributions of a row's features, steps, tokens or players, in the order of the row. An image without players is
 * one contribution. Held inputs have none.
 */
import { flat, isPlayers, isTokens, sum, type Attribution, type OutputExplanation, type Nested, type Token } from "../api/answer";
import { toRow, type Field, type TypedRow } from "../model";
import { toNumber } from "../numbers";
import { formatNumber, formatValue } from "../format";
import { words } from "../texts";

export interface Contribution {
  key: string;
  label: string;
  value: number;
  error?: number;
  /** The sum of |attribution| over its parts, where the contribution is a sum of several. */
  size?: number;
}

/** single: steps and tokens are contributions of their own. Default: only if the model has no other field. */
export function contributions(fields: Field[], { attributions, players, standard_errors }: OutputExplanation, typed: TypedRow, single = fields.length === 1): Contribution[] {
  const seen = new Set<string>();
  const found = fields.flatMap((field): Contribution[] => {
    const key = field.group ?? field.key;
    if (seen.has(key)) return [];
    seen.add(key);
    const [given, errors] = [attributions[key], standard_errors?.[key]];
    if (given === undefined) return [];
    if (field.kind === "number" || field.kind === "category") {
      return [{ key, label: field.group ?? `${field.title} = ${valueText(field, typed)}`, value: Number(given), error: errors as number | undefined }];
    }
    if (isPlayers(given) && field.kind !== "text") {
      return given.map(({ player, value }, place) => ({ key: `${key}: ${player}`, label: fields.length > 1 ? `${field.title}: ${player}` : player, value, error: isPlayers(errors) ? errors[place]?.value : undefined }));
    }
    const tokens = tokensOf(given);
    if (tokens) {
      const pieces = withLetters(tokens, typed[key] ?? "");
      if (single) return pieces.map(({ name, label, value }, place) => ({ key: name, label, value, error: tokensOf(errors)?.[place]?.value }));
      return [{ key, label: words.why.allPieces(field.title, pieces.length), value: sum(pieces.map((one) => one.value)), size: sum(pieces.map((one) => Math.abs(one.value))) }];
    }
    const parts = (Array.isArray(given) ? given : [given]) as Nested[];
    if (single && field.kind !== "image") return stepContributions(field, parts, Array.isArray(errors) ? (errors as Nested[]) : [], typed);
    return [{ key, label: words.why.allValues(field.title, flat(parts).length), value: sum(flat(parts)), size: sum(flat(parts).map(Math.abs)) }];
  });
  const title = (name: string) => fields.find((field) => field.key === name)?.title ?? name;
  const groups = (players ?? []).map(({ player, value, members, standard_error: error }) => ({ key: player, label: words.why.group(player, members.map(title).join(", ")), value, error }));
  return [...found, ...groups];
}

/** The tokens of a text, or its words or sentences in the same form. */
export function tokensOf(given: Attribution | undefined): Token[] | undefined {
  if (isTokens(given)) return given;
  return isPlayers(given) ? given.map(({ player, start = 0, end = 0, value }) => ({ token: player, start, end, value })) : undefined;
}

export interface TokenText extends Token {
  /** The token's letters in the text; empty for a special token. */
  letters: string;
  /** The same for the same token in every text. */
  name: string;
  /** Unique in this text. */
  label: string;
}

/** Tokens with their letters. The service counts code points, but JavaScript strings count UTF-16 units. */
export function withLetters(tokens: Token[], text: string): TokenText[] {
  const points = [...text];
  const seen = new Map<string, number>();
  return tokens.map((one) => {
    const letters = points.slice(one.start, one.end).join("");
    const name = letters.trim() ? `“${letters.trim()}”` : nameWithoutLetters(one);
    const nth = (seen.get(name) ?? 0) + 1;
    seen.set(name, nth);
    return { ...one, letters, name, label: nth > 1 ? `${name} (${nth})` : name };
  });
}

function nameWithoutLetters({ token, start, end }: Token): string {
  return start === end && /pad/i.test(token) ? words.why.padding : token.replace(/[▁Ġ\s]/g, "␣") || "␣";
}

/** The value as the service reads it, with the unit. */
export function valueText(field: Field, typed: TypedRow): string {
  const text = typed[field.key] ?? "";
  if (field.missing && text.trim() === "") return field.fill === undefined ? words.why.missing : words.why.filled(`${typeof field.fill === "number" ? formatValue(field.fill) : field.fill}`);
  const number = field.kind === "number" ? toNumber(text) : text;
  return [typeof number === "number" ? formatValue(number) : text || words.why.nothing, field.unit].filter(Boolean).join(" ");
}

function stepContributions(field: Field, parts: Nested[], errors: Nested[], typed: TypedRow): Contribution[] {
  const row = toRow([field], typed)[field.key];
  const values: unknown[] = Array.isArray(row) ? row : [];
  return parts.map((part, place) => {
    const value = values[place];
    const label = `${field.title}[${place}]` + (typeof value === "number" ? ` = ${formatNumber(value)}` : "");
    const error = errors[place];
    return { key: `${field.key}[${place}]`, label, value: sum(flat(part)), error: typeof error === "number" ? error : undefined };
  });
}
