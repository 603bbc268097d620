/** A model for the page: its fields, read from its manifest, and its rows. */
import type { components } from "./api/document";
import { pieces, readings, toNumber, written } from "./numbers";
import { words } from "./texts";

type Description = components["schemas"]["ModelDescription"];
type Feature = components["schemas"]["Feature"];

/** The smallest and the largest value. */
type Range = [number, number];

/** GET /models/{name}. The document's type with two changes: ranges are pairs, and the example has rows of any model. */
export type Manifest = Omit<Description, "ranges" | "example"> & {
  ranges: Record<string, Range>;
  example: { instances: Record<string, unknown>[] };
};

/** One entry of the form. */
export interface Field {
  key: string;
  /** The name for people, without the unit. */
  title: string;
  kind: "number" | "category" | "text" | "image" | "sequence" | "tensor";
  unit?: string;
  description?: string;
  range?: Range;
  /** Black and white of each channel of an image, where the channels differ. */
  channels?: Range[];
  integer: boolean;
  /** The value is true or false. */
  boolean: boolean;
  categories: string[];
  shape: number[];
  /** The names of a series' steps, if model.toml has them. */
  stepNames?: string[];
  /** Whether a request may leave the value out. */
  missing: boolean;
  /** The value that replaces a missing one. */
  fill?: number | string;
  /** The key of the attribution, if the feature is explained as part of a group. */
  group?: string;
}

export function fields(model: Manifest): Field[] {
  return model.spec.inputs.flatMap((input) => {
    const integer = input.dtype.includes("int");
    const boolean = input.dtype === "bool";
    if (input.kind === "tabular") {
      return input.features.map((feature) => featureField(model, feature, integer || feature.whole, boolean || feature.boolean));
    }
    const example = model.example.instances[0]?.[input.name];
    const kind = input.tokenizer ? "text" : input.kind === "tokens" ? "sequence" : input.kind;
    const own = model.spec.explain.players[input.name] as { step_names?: string[] } | undefined;
    const given = input.range as Range | Range[] | undefined;
    const channels = Array.isArray(given?.[0]) ? (given as Range[]) : undefined;
    const range = input.tokenizer || channels ? undefined : ((given as Range | undefined) ?? model.ranges[input.name] ?? exampleRange(example, input.dtype));
    return [{ key: input.name, title: readable(input.name), kind, integer, boolean, missing: false, range, channels, categories: [], shape: input.shape, stepNames: own?.step_names }];
  });
}

function featureField(model: Manifest, feature: Feature, integer: boolean, boolean: boolean): Field {
  const { name, unit, description, group } = feature;
  const categories = boolean ? ["false", "true"] : (feature.categories ?? []);
  const kind = categories.length ? "category" : "number";
  const code = model.fills[name];
  const fill = code === undefined ? undefined : categories.length ? categories[code] : code;
  return { key: name, title: feature.title ?? readable(name, unit), kind, unit, description, group, integer, boolean, missing: feature.missing !== false, fill, categories, range: model.ranges[name], shape: [] };
}

/** A name without underscores, and without the unit at its end: bill_length_mm is "bill length". */
function readable(name: string, unit?: string): string {
  const plain = name.replaceAll("_", " ");
  const bare = unit && plain.toLowerCase().endsWith(` ${unit.toLowerCase()}`) ? plain.slice(0, -unit.length - 1) : plain;
  return bare.trim() || name;
}

/** The title with the unit: "bill length, mm". */
export function heading({ title, unit }: Field): string {
  return unit ? `${title}, ${unit}` : title;
}

/** The numbers for black and white in one channel of an image. */
export function blackAndWhite(field: Field, channel: number): Range {
  return field.channels?.[channel] ?? field.range ?? [0, 1];
}

/** The range of an input's numbers, estimated from its example. */
function exampleRange(example: unknown, dtype: string): Range {
  if (dtype === "uint8") return [0, 255];
  const numbers = JSON.stringify(example ?? [])
    .split(/[[\],]+/)
    .filter(Boolean)
    .map(Number);
  const [low, high] = [Math.min(0, ...numbers), Math.max(...numbers, 0)];
  return [low, high > 1 || high === 0 ? high || 1 : 1];
}

/** A row as text by field. Wrong input is kept as well. */
export type TypedRow = Record<string, string>;

/** The row to send. Text that is not a number is sent unchanged, so that the service reports the error. Nothing is null. */
export function toRow(list: Field[], typed: TypedRow): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  for (const field of list) {
    const text = typed[field.key] ?? "";
    if (field.kind !== "text" && text.trim() === "") {
      if (field.missing) row[field.key] = null;
      continue;
    }
    row[field.key] = toValue(field, text);
  }
  return row;
}

function toValue(field: Field, text: string): unknown {
  if (field.boolean && field.kind === "category") return toBoolean(text);
  switch (field.kind) {
    case "number":
      return toNumber(text);
    case "sequence":
      return toSequence(field, text);
    case "image":
    case "tensor":
      try {
        return JSON.parse(text);
      } catch {
        return text;
      }
    default:
      return text;
  }
}

function toBoolean(text: string): boolean | string {
  return text === "true" || (text === "false" ? false : text);
}

/** If a step has several numbers, each line is a step. */
function toSequence(field: Field, text: string): unknown {
  const numbers = (part: string) => pieces(part).map((one) => (field.boolean ? toBoolean(one) : toNumber(one)));
  if (field.shape.length < 2) return numbers(text);
  return text.split(/\n+/).filter((line) => line.trim()).map(numbers);
}

/** The fault of each field whose number has two readings. */
export function ambiguities(list: Field[], typed: TypedRow): Record<string, string> {
  return Object.fromEntries(
    list.flatMap((field) => {
      if (field.kind !== "number" && field.kind !== "sequence") return [];
      const text = typed[field.key] ?? "";
      const found = (field.kind === "number" ? [text] : pieces(text)).map(readings).find(Boolean);
      return found ? [[field.key, words.form.ambiguous(...found)]] : [];
    }),
  );
}

export function fromRow(list: Field[], row: Record<string, unknown>): TypedRow {
  return Object.fromEntries(list.map((field) => [field.key, fromValue(field, row[field.key])]));
}

function fromValue(field: Field, value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  if (typeof value === "number") return written(value);
  if (field.kind !== "sequence" || !Array.isArray(value)) return JSON.stringify(value);
  return field.shape.length < 2 ? joined(value) : value.map((step) => joined(step as unknown[])).join("\n");
}

const joined = (values: unknown[]) => values.map((value) => (typeof value === "number" ? written(value) : String(value))).join(" ");

export function outputs(model: Manifest): string[] {
  return model.spec.output.labels.length ? model.spec.output.labels : model.spec.output.names;
}
