/** The common part of all models' answers. The type check compares it with the document where answers are assigned. */
export type Nested = number | Nested[];

export interface Prediction {
  label?: string;
  labels?: string[];
  scores?: Record<string, number>;
  value?: number;
  values?: Record<string, number>;
}

/** A token of a text: its code points from `start` up to `end`, and its attribution. */
export interface Token {
  token: string;
  start: number;
  end: number;
  value: number;
}

export type Attribution = Nested | Token[];

export interface OutputExplanation {
  output: string;
  value: number;
  base_value: number;
  attributions: Record<string, Attribution>;
  residual: number;
  standard_errors?: Record<string, Attribution>;
}

export interface Answer {
  method: string;
  method_reason?: string;
  expected_distance?: number;
  background: { name: string; rows: number; sha256: string };
  complete?: boolean;
  cached?: boolean;
  explanations: { prediction: Prediction; outputs: OutputExplanation[] }[];
}

export function isTokens(share: Attribution | undefined): share is Token[] {
  return Array.isArray(share) && typeof share[0] === "object" && "token" in share[0];
}

export function flat(nested: Nested | undefined): number[] {
  return nested === undefined ? [] : typeof nested === "number" ? [nested] : nested.flatMap(flat);
}

export function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
