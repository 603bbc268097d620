/** What is asked: the model, the row to start from, the row as it is now, and what of it is explained. */
import { batch, computed, signal } from "@preact/signals";

import { readAddress, writeAddress } from "./address";
import { Refusal, api, asked, type Summary } from "./api/client";
import { fields, fromRow, outputs, type Manifest, type Typed } from "./model";

export const models = signal<Summary[]>([]);
export const model = signal<Manifest | null>(null);
export const list = computed(() => (model.value ? fields(model.value) : []));
export const start = signal<Typed>({});
export const now = signal<Typed>({});
/** The class or output that is explained; null is the one predicted. */
export const output = signal<string | null>(null);
export const method = signal("auto");
/** How much a sampled method samples; null is its own default. */
export const samples = signal<number | null>(null);
/** What is compared with; null is the model's default background. */
export const background = signal<string | null>(null);
export const view = signal<"row" | "table">("row");
export const loading = signal<Refusal | null>(null);
/** Whether the row is too large to stand in the address. */
export const tooLong = signal(false);

export const changed = computed(() => list.value.map((field) => field.key).filter((key) => now.value[key] !== start.value[key]));

export function type(key: string, text: string) {
  now.value = { ...now.value, [key]: text };
}

/** Load the models and what the address asks for. */
export async function open(): Promise<void> {
  loading.value = null;
  try {
    models.value = (await asked(api.GET("/models"))).models;
    const wanted = readAddress();
    const there = models.value.some(({ name }) => name === wanted.model);
    const isFirst = model.value === null;
    await (there ? choose(wanted.model ?? "", wanted) : choose(models.value[0]?.name ?? ""));
    if (wanted.model && !there && isFirst) loading.value = new Refusal("The model that the address names is not served here; this is another.", 404);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    loading.value = error;
  }
}

/** Take a model, filled with its example and with what an address says differs from it. Raises Refusal. */
export async function choose(name: string, wanted: ReturnType<typeof readAddress> = {}): Promise<void> {
  const shown = (await asked(api.GET("/models/{name}", { params: { path: { name } } }))) as unknown as Manifest;
  const example = fromRow(fields(shown), shown.example.instances[0] ?? {});
  const from = { ...example, ...wanted.start };
  batch(() => {
    loading.value = null;
    model.value = shown;
    start.value = from;
    now.value = { ...from, ...wanted.now };
    output.value = wanted.output && outputs(shown).includes(wanted.output) ? wanted.output : null;
    method.value = wanted.method && shown.certificate.methods[wanted.method]?.fits ? wanted.method : "auto";
    samples.value = wanted.samples ?? null;
    background.value = wanted.background && shown.backgrounds?.[wanted.background] ? wanted.background : null;
    view.value = wanted.view ?? "row";
  });
}

/** The address for what is shown now; called whenever that changes. */
export function tellAddress() {
  const shown = model.value;
  if (!shown) return;
  const example = fromRow(list.value, shown.example.instances[0] ?? {});
  tooLong.value = !writeAddress({
    model: shown.spec.name,
    output: output.value ?? undefined,
    method: method.value === "auto" ? undefined : method.value,
    samples: samples.value ?? undefined,
    background: background.value ?? undefined,
    view: view.value === "row" ? undefined : view.value,
    start: differing(start.value, example),
    now: differing(now.value, start.value),
  });
}

function differing(typed: Typed, from: Typed): Typed {
  return Object.fromEntries(Object.entries(typed).filter(([key, text]) => from[key] !== text));
}
