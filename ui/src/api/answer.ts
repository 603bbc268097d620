/** What answers have in common, whatever the model. That the document's own types fit is checked where they are assigned. */
export type Nested = number | Nested[];

export interface Prediction {
  label?: string;
  scores?: Record<string, number>;
  value?: number;
  values?: Record<string, number>;
}

/** A piece of a text, from and up to which of its code points, and what is due to it. */
export interface Token {
  token: string;
  start: number;
  end: number;
  value: number;
}

export type Share = Nested | Token[];

export interface Explained {
  output: string;
  value: number;
  base_value: number;
  attributions: Record<string, Share>;
  residual: number;
  standard_errors?: Record<string, Share>;
}

export interface Answer {
  method: string;
  method_reason?: string;
  expected_distance?: number;
  background: { name: string; rows: number; sha256: string };
  complete?: boolean;
  cached?: boolean;
  explanations: { prediction: Prediction; outputs: Explained[] }[];
}

export function isTokens(share: Share | undefined): share is Token[] {
  return Array.isArray(share) && typeof share[0] === "object" && "token" in share[0];
}

export function flat(nested: Nested | undefined): number[] {
  return nested === undefined ? [] : typeof nested === "number" ? [nested] : nested.flatMap(flat);
}

export function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
