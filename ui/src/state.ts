/** The state of the page: the model, the start row, the current row, and the options of the explanation. */
import { batch, computed, signal } from "@preact/signals";

import { readAddress, writeAddress, type View } from "./address";
import { RequestError, api, dataOf, type Summary } from "./api/client";
import { ambiguities, fields, fromRow, outputs, toRow, type Manifest, type TypedRow } from "./model";
import { decimalComma } from "./numbers";
import { words } from "./texts";

export const models = signal<Summary[]>([]);
export const model = signal<Manifest | null>(null);
export const modelFields = computed(() => (model.value ? fields(model.value) : []));
export const start = signal<TypedRow>({});
export const current = signal<TypedRow>({});
/** The class or output to explain; null is the predicted class. */
export const output = signal<string | null>(null);
export const method = signal("auto");
/** The number of samples of a method that samples; null is the method's default. */
export const samples = signal<number | null>(null);
/** The name of a background; null is the model's default background. */
export const background = signal<string | null>(null);
/** log_odds or output; null is the model's own scale. */
export const scaleName = signal<string | null>(null);
/** The label that the explained label is compared with; null compares with none. */
export const insteadOf = signal<string | null>(null);
/** The players as JSON, as in a request; null is the model's own players. */
export const players = signal<string | null>(null);

/** The options of a request to explain that differ from the model's own. */
export const explainOptions = computed(() => ({
  ...(method.value === "auto" ? {} : { method: method.value }),
  ...(samples.value === null ? {} : { samples: samples.value }),
  ...(background.value === null ? {} : { background: background.value }),
  ...(insteadOf.value === null ? {} : { instead_of: insteadOf.value }),
  ...(scaleName.value === null || insteadOf.value !== null ? {} : { scale: scaleName.value }),
  ...(players.value === null ? {} : { players: JSON.parse(players.value) as object }),
}));
export const view = signal<View>("row");
/** The id of the recorded decision to show: ID or ID.ROW. */
export const decision = signal<string | null>(null);
/** The row of the table that is open as one row: its line in the table. */
export const opened = signal<number | null>(null);
/** Whether the list of models is being loaded. */
export const loading = signal(true);
export const loadError = signal<RequestError | null>(null);
/** Whether the row is too large for the address. */
export const tooLong = signal(false);

/** The decision threshold for the explained output, from 0 to 1; null is none. */
export const threshold = signal<number | null>(null);

/** The fault of each field whose number has two readings. No request is sent while there is one. */
export const ambiguous = computed(() => ambiguities(modelFields.value, current.value));

export const changed = computed(() => modelFields.value.map((field) => field.key).filter((key) => current.value[key] !== start.value[key]));

export function setText(key: string, text: string) {
  current.value = { ...current.value, [key]: text };
}

/** Choose the decimal separator, and write the numbers of both rows with it. */
export function chooseDecimal(comma: boolean) {
  const numbers = modelFields.value.filter((field) => field.kind === "number" || field.kind === "sequence");
  const read = [start, current].map((row) => ({ row, values: toRow(numbers, row.value) }));
  batch(() => {
    decimalComma.value = comma;
    for (const { row, values } of read) row.value = { ...row.value, ...fromRow(numbers, values) };
  });
}

/** Load the list of models, and the model and row of the address. */
export async function loadModels(): Promise<void> {
  loadError.value = null;
  loading.value = model.value === null;
  try {
    models.value = (await dataOf(api.GET("/models"))).models;
    const wanted = readAddress();
    const there = models.value.some(({ name }) => name === wanted.model);
    const isFirst = model.value === null;
    decision.value = wanted.decision ?? null;
    const [first] = models.value;
    if (!first) return;
    await (there ? selectModel(wanted.model ?? "", wanted) : selectModel(first.name, { view: wanted.view }));
    if (wanted.model && !there && isFirst) loadError.value = new RequestError(words.app.unknownModel, 404);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (error.status !== 401) loadError.value = error;
  } finally {
    loading.value = false;
  }
}

/** Select a model, with its example and the changes from an address. Raises RequestError. */
export async function selectModel(name: string, wanted: ReturnType<typeof readAddress> = {}): Promise<void> {
  const shown = (await dataOf(api.GET("/models/{name}", { params: { path: { name } } }))) as unknown as Manifest;
  decimalComma.value = wanted.decimal === "comma";
  const example = fromRow(fields(shown), shown.example.instances[0] ?? {});
  const from = { ...example, ...wanted.start };
  batch(() => {
    loadError.value = null;
    model.value = shown;
    start.value = from;
    current.value = { ...from, ...wanted.now };
    output.value = wanted.output && outputs(shown).includes(wanted.output) ? wanted.output : null;
    method.value = wanted.method && shown.certificate.methods[wanted.method]?.fits ? wanted.method : "auto";
    samples.value = wanted.samples ?? null;
    background.value = wanted.background && shown.backgrounds?.[wanted.background] ? wanted.background : null;
    scaleName.value = wanted.scale ?? null;
    insteadOf.value = output.value && wanted.insteadOf && wanted.insteadOf !== output.value && outputs(shown).includes(wanted.insteadOf) ? wanted.insteadOf : null;
    players.value = wanted.players ?? null;
    view.value = wanted.view ?? "row";
    threshold.value = wanted.threshold ?? null;
  });
}

/** Write the state to the address. Called on every change. */
export function updateAddress() {
  const shown = model.value;
  if (!shown) return;
  const example = fromRow(modelFields.value, shown.example.instances[0] ?? {});
  tooLong.value = !writeAddress({
    model: shown.spec.name,
    output: output.value ?? undefined,
    method: method.value === "auto" ? undefined : method.value,
    samples: samples.value ?? undefined,
    background: background.value ?? undefined,
    scale: scaleName.value ?? undefined,
    insteadOf: insteadOf.value ?? undefined,
    players: players.value ?? undefined,
    view: view.value === "row" ? undefined : view.value,
    decision: view.value === "decision" ? (decision.value ?? undefined) : undefined,
    decimal: decimalComma.value ? "comma" : undefined,
    threshold: threshold.value ?? undefined,
    start: difference(start.value, example),
    now: difference(current.value, start.value),
  });
}

function difference(typed: TypedRow, from: TypedRow): TypedRow {
  return Object.fromEntries(Object.entries(typed).filter(([key, text]) => from[key] !== text));
}
