/** Many rows, pasted or from a file: explained with progress, and summarized in one picture. */
import { signal } from "@preact/signals";
import { csvFormatRows } from "d3-dsv";
import { useCallback, useEffect } from "preact/hooks";

import { RequestError } from "../api/client";
import { outputs } from "../model";
import { background, modelFields, method, model, current, output } from "../state";
import { ErrorNotice } from "../ErrorNotice";
import { Chart } from "../why/Chart";
import type { Canvas } from "../why/draw";
import { scaleOf } from "../format";
import { explainAll, type Results } from "./batches";
import { readTable, writeCsv, type Row } from "./rows";
import { bars, meanSizes, swarm } from "./summary";

const MAX_ERRORS_SHOWN = 8;

const text = signal("");
/** The model that the text is for. The text is replaced only when the model changes. */
const textModel = signal("");
const running = signal<AbortController | null>(null);
const total = signal(0);
const results = signal<Results | null>(null);
const inputError = signal("");
const ignored = signal<string[]>([]);
const requestError = signal<RequestError | null>(null);
const picture = signal<"dots" | "bars">("dots");

/** The initial table: the column names and the form's row, or the example as JSON for other kinds of input. */
function template(): string {
  const tabular = modelFields.value.every((field) => ["number", "category", "text"].includes(field.kind));
  if (!tabular) return JSON.stringify(model.value?.example.instances ?? []);
  const keys = modelFields.value.map((field) => field.key);
  return csvFormatRows([keys, keys.map((key) => current.value[key] ?? "")]);
}

async function explainRows() {
  const shown = model.value;
  if (!shown) return;
  [inputError.value, requestError.value, results.value] = ["", null, null];
  const control = new AbortController();
  try {
    const table = readTable(text.value, modelFields.value);
    [total.value, ignored.value, running.value] = [table.rows.length, table.ignored, control];
    const wanted = output.value ?? outputs(shown)[0] ?? "";
    await explainAll({
      model: shown.spec.name, output: wanted, method: method.value === "auto" ? undefined : method.value, background: background.value ?? undefined,
      fields: modelFields.value, rows: table.rows, signal: control.signal, onChange: (state) => (results.value = state),
    });
  } catch (error) {
    if (control.signal.aborted) return;
    if (error instanceof RequestError) requestError.value = error;
    else inputError.value = (error as Error).message;
  } finally {
    if (running.value === control) running.value = null;
  }
}

function stop() {
  running.value?.abort();
  running.value = null;
}

export function Table() {
  const shown = model.value;
  useEffect(() => {
    if (!shown || textModel.value === shown.spec.name) return;
    stop();
    [text.value, textModel.value, results.value, inputError.value, requestError.value] = [template(), shown.spec.name, null, "", null];
  }, [shown]);
  if (!shown) return null;
  return (
    <div class="columns">
      <Entry />
      <div class="results">
        <section class="card" aria-labelledby="summary-heading">
          <h2 id="summary-heading">What matters over all rows</h2>
          <RunProgress />
          {requestError.value && <ErrorNotice error={requestError.value} onRetry={() => void explainRows()} what="It stopped:" />}
          <RowErrors />
          {results.value && results.value.rows.length > 0 && <Summary rows={results.value.rows} />}
          {!results.value && !running.value && !requestError.value && <p class="hint">A dot will stand for each row: how much a feature added or took away there.</p>}
        </section>
      </div>
    </div>
  );
}

function Entry() {
  const shown = model.value;
  if (!shown) return null;
  const take = async (file: File | undefined) => {
    if (file) text.value = await file.text();
  };
  return (
    <form class="card form" aria-labelledby="rows-heading" onSubmit={(event) => (event.preventDefault(), void explainRows())} onDragOver={(event) => event.preventDefault()} onDrop={(event) => (event.preventDefault(), void take(event.dataTransfer?.files[0]))}>
      <h2 id="rows-heading">Rows</h2>
      <label for="rows">Paste a table, or drop a file: CSV with a line of names, or JSON.</label>
      <textarea id="rows" rows={14} spellcheck={false} wrap="off" value={text.value} aria-invalid={Boolean(inputError.value)} aria-describedby={inputError.value ? "rows-fault" : undefined} onInput={(event) => (text.value = event.currentTarget.value)} />
      {inputError.value && (
        <p class="fault" id="rows-fault" role="alert">
          {inputError.value}
        </p>
      )}
      <p class="buttons">
        <label class="button">
          Choose a file
          <input type="file" accept=".csv,.tsv,.txt,.json" class="unseen" onChange={(event) => void take(event.currentTarget.files?.[0])} />
        </label>
      </p>
      <p>
        <label>
          Explain{" "}
          <select data-testid="rows-class" value={output.value ?? outputs(shown)[0] ?? ""} onChange={(event) => (output.value = event.currentTarget.value)}>
            {outputs(shown).map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      </p>
      <button type="submit" class="main" disabled={Boolean(running.value)}>
        Explain these rows
      </button>
    </form>
  );
}

function RunProgress() {
  if (!running.value) return null;
  const { done = 0, waitReason } = results.value ?? {};
  return (
    <div class="progress" data-testid="rows-progress">
      <label for="rows-progress">{waitReason ? `${waitReason} It is tried again every few seconds.` : `${Math.floor(done)} of ${total.value} rows …`}</label>
      <progress id="rows-progress" max={total.value} value={done} />
      <button type="button" onClick={stop}>
        Cancel
      </button>
    </div>
  );
}

function RowErrors() {
  const errors = results.value?.errors ?? [];
  const rest = total.value - (results.value?.rows.length ?? 0) - errors.length;
  return (
    <>
      {results.value && ignored.value.length > 0 && <p class="hint">Left out, as the model does not know them: {ignored.value.join(", ")}.</p>}
      {errors.length > 0 && (
        <div class="trouble" role="alert" data-testid="rows-faults">
          <p>
            {errors.length === 1 ? "One row was" : `${errors.length} rows were`} refused{!running.value && rest > 0 ? `, and ${rest} not tried any more` : ""}; the others are shown.
          </p>
          <ul>
            {errors.slice(0, MAX_ERRORS_SHOWN).map(({ line, message }) => (
              <li key={line}>
                Row {line}: {message}
              </li>
            ))}
          </ul>
        </div>
      )}
    </>
  );
}

function Summary({ rows }: { rows: Row[] }) {
  const shown = model.value;
  const kind = picture.value;
  const fields = modelFields.value;
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      return (kind === "dots" ? swarm : bars)(fields, rows, scaleOf(shown), canvas);
    },
    [rows, kind, shown, fields],
  );
  if (!shown) return null;
  const name = rows[0]?.explained.output ?? "";
  const scale = scaleOf(shown);
  const ranking = meanSizes(fields, rows).slice(0, 12).map(({ key, mean }) => `${key} ${scale.change(mean).replace("+", "")}`).join("; ");
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([writeCsv(fields, rows)], { type: "text/csv" }));
    link.download = `why-${shown.spec.name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  return (
    <>
      <p data-testid="summed">
        {rows.length} {rows.length === 1 ? "row" : "rows"}, explained for {name}.
      </p>
      <div class="views" role="group" aria-label="Picture">
        {(["dots", "bars"] as const).map((one) => (
          <button key={one} type="button" aria-pressed={kind === one} onClick={() => (picture.value = one)}>
            {one === "dots" ? "Every row" : "Mean sizes"}
          </button>
        ))}
      </div>
      <Chart draw={draw} title={`What matters to ${shown.spec.name}: ${name}, ${rows.length} rows`} description={`Mean size of what each adds or takes away, the largest first: ${ranking}.`} />
      <p class="keep">
        Keep the numbers:{" "}
        <button type="button" class="quiet" onClick={save}>
          CSV
        </button>
      </p>
    </>
  );
}
