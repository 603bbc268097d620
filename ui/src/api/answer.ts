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

/** A player of an input, and its attribution: a patch, a region of a mask, steps, a channel, words, or positions. */
export interface Player {
  player: string;
  value: number;
  /** Top, left, bottom and right in pixels; bottom and right are exclusive. */
  box?: number[];
  /** The label in the mask of the explanation. */
  label?: number;
  start?: number;
  end?: number;
  channel?: string;
}

/** A group of features and inputs, and its attribution. */
export interface GroupShare {
  player: string;
  value: number;
  members: string[];
  standard_error?: number;
}

/** The label of each pixel, row by row: each run is a label and how often it follows. */
export interface LabelMask {
  shape: number[];
  runs: number[][];
}

export type Attribution = Nested | Token[] | Player[];

export interface OutputExplanation {
  output: string;
  value: number;
  base_value: number;
  attributions: Record<string, Attribution>;
  players?: GroupShare[];
  /** The features that had no value in the request. */
  missing?: Record<string, true>;
  residual: number;
  standard_errors?: Record<string, Attribution>;
}

/** Another scale than that of the outputs. */
export type ScaleName = "log_odds" | "log_ratio" | "difference";

export interface Reasons {
  output: string;
  against: boolean;
  named: { code: string; feature: string; text: string; value?: unknown; attribution: number; tied_with?: string[] }[];
  not_named?: number;
  sentence?: string;
}

/** A background row near the explained one. distance: in quantiles of the background. */
export interface SimilarRow {
  row: number;
  distance: number;
  instance: Record<string, unknown>;
  prediction: Prediction;
}

export interface RowAnswer {
  prediction: Prediction;
  outputs: OutputExplanation[];
  masks?: Record<string, LabelMask>;
  reasons?: Reasons;
  similar?: SimilarRow[];
  more_unusual_share?: number;
}

export interface Answer {
  model: string;
  version: number;
  method: string;
  method_reason?: string;
  expected_distance?: number;
  scale?: ScaleName;
  instead_of?: string;
  reliable?: boolean;
  reliable_reason?: string;
  background: { name: string; rows: number; sha256: string; absent?: Record<string, string | number> };
  complete?: boolean;
  cached?: boolean;
  replay?: { prediction: string; program: string; may_differ: string[] };
  explanations: RowAnswer[];
}

export function isTokens(share: Attribution | undefined): share is Token[] {
  return Array.isArray(share) && typeof share[0] === "object" && "token" in share[0];
}

export function isPlayers(share: Attribution | undefined): share is Player[] {
  return Array.isArray(share) && typeof share[0] === "object" && "player" in share[0];
}

/** The numbers of an attribution, whatever its form. */
export function numbersOf(share: Attribution | undefined): number[] {
  return isTokens(share) || isPlayers(share) ? share.map((one) => one.value) : flat(share);
}

export function flat(nested: Nested | undefined): number[] {
  return nested === undefined ? [] : typeof nested === "number" ? [nested] : nested.flatMap(flat);
}

export function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** The label with the second largest score; undefined without one. */
export function secondLabel({ scores }: Prediction): string | undefined {
  return Object.entries(scores ?? {}).sort(([, one], [, other]) => other - one)[1]?.[0];
}
