/** The state of the page: the model, the start row, the current row, and the options of the explanation. */
import { batch, computed, signal } from "@preact/signals";

import { readAddress, writeAddress } from "./address";
import { RequestError, api, dataOf, type Summary } from "./api/client";
import { fields, fromRow, outputs, type Manifest, type TypedRow } from "./model";

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
export const view = signal<"row" | "table">("row");
export const loadError = signal<RequestError | null>(null);
/** Whether the row is too large for the address. */
export const tooLong = signal(false);

export const changed = computed(() => modelFields.value.map((field) => field.key).filter((key) => current.value[key] !== start.value[key]));

export function setText(key: string, text: string) {
  current.value = { ...current.value, [key]: text };
}

/** Load the list of models, and the model and row of the address. */
export async function loadModels(): Promise<void> {
  loadError.value = null;
  try {
    models.value = (await dataOf(api.GET("/models"))).models;
    const wanted = readAddress();
    const there = models.value.some(({ name }) => name === wanted.model);
    const isFirst = model.value === null;
    await (there ? selectModel(wanted.model ?? "", wanted) : selectModel(models.value[0]?.name ?? ""));
    if (wanted.model && !there && isFirst) loadError.value = new RequestError("The model that the address names is not served here; this is another.", 404);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    loadError.value = error;
  }
}

/** Select a model, with its example and the changes from an address. Raises RequestError. */
export async function selectModel(name: string, wanted: ReturnType<typeof readAddress> = {}): Promise<void> {
  const shown = (await dataOf(api.GET("/models/{name}", { params: { path: { name } } }))) as unknown as Manifest;
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
    view.value = wanted.view ?? "row";
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
    view: view.value === "row" ? undefined : view.value,
    start: difference(start.value, example),
    now: difference(current.value, start.value),
  });
}

function difference(typed: TypedRow, from: TypedRow): TypedRow {
  return Object.fromEntries(Object.entries(typed).filter(([key, text]) => from[key] !== text));
}
