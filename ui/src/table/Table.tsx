/** Many rows, pasted or from a file: explained with progress, summarized in one picture, and listed. */
import { signal } from "@preact/signals";
import { useCallback, useEffect } from "preact/hooks";

import { outputs } from "../model";
import { decimalComma } from "../numbers";
import { chooseDecimal, modelFields, model, output } from "../state";
import { ErrorNotice } from "../ErrorNotice";
import { scaleOf } from "../format";
import { words } from "../texts";
import { Chart } from "../why/Chart";
import { save } from "../why/download";
import type { Canvas } from "../why/draw";
import { Results } from "./Results";
import { writeCsv, type Row } from "./rows";
import { explainRows, ignored, inputError, requestError, resetFor, results, running, setTable, stop, takeFile, text, total } from "./run";
import { bars, meanSizes, swarm } from "./summary";

/** More dots than this per feature cannot be told apart. */
const MAX_DOTS = 500;

const picture = signal<"dots" | "bars">("dots");

export function Table() {
  const shown = model.value;
  useEffect(() => {
    if (shown) resetFor(shown.spec.name);
  }, [shown]);
  if (!shown) return null;
  return (
    <>
      <div class="columns">
        <Entry />
        <div class="results">
          <section class="card" aria-labelledby="summary-heading">
            <h2 id="summary-heading">{words.table.results}</h2>
            <RunProgress />
            {requestError.value && <ErrorNotice error={requestError.value} onRetry={() => void explainRows()} what={words.table.stopped} />}
            {results.value && ignored.value.length > 0 && <p class="hint">{words.table.ignored(ignored.value.join(", "))}</p>}
            {results.value && results.value.errors.length > 0 && (
              <p class="trouble" role="alert" data-testid="rows-faults">
                {words.table.refused(results.value.errors.length)}
              </p>
            )}
            {results.value && results.value.rows.length > 0 && <Summary rows={results.value.rows} />}
            {!results.value && !running.value && !requestError.value && <p class="hint">{words.table.empty}</p>}
          </section>
        </div>
      </div>
      <Results />
    </>
  );
}

function Entry() {
  const shown = model.value;
  if (!shown) return null;
  return (
    <form class="card form" aria-labelledby="rows-heading" onSubmit={(event) => (event.preventDefault(), void explainRows())} onDragOver={(event) => event.preventDefault()} onDrop={(event) => (event.preventDefault(), void takeFile(event.dataTransfer?.files[0]))}>
      <h2 id="rows-heading">{words.table.heading}</h2>
      <label for="rows">{words.table.paste}</label>
      <textarea id="rows" rows={14} spellcheck={false} wrap="off" value={text.value} aria-invalid={Boolean(inputError.value)} aria-describedby={inputError.value ? "rows-fault" : undefined} onInput={(event) => setTable(event.currentTarget.value)} />
      {inputError.value && (
        <p class="fault" id="rows-fault" role="alert">
          {inputError.value}
        </p>
      )}
      <p class="buttons">
        <label class="button">
          {words.table.choose}
          <input type="file" accept=".csv,.tsv,.txt,.json,.parquet,.pq" class="unseen" onChange={(event) => void takeFile(event.currentTarget.files?.[0])} />
        </label>
      </p>
      <p class="hint">
        <label>
          <input type="checkbox" checked={decimalComma.value} onChange={(event) => chooseDecimal(event.currentTarget.checked)} /> {words.form.decimalComma}
        </label>
      </p>
      <p>
        <label>
          {words.table.explain}{" "}
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
        {words.table.go}
      </button>
    </form>
  );
}

function RunProgress() {
  if (!running.value) return null;
  const { done = 0, waitReason } = results.value ?? {};
  return (
    <div class="progress" data-testid="rows-progress">
      <label for="rows-progress">{waitReason ? waitReason + words.table.waits : words.table.progress(Math.floor(done), total.value)}</label>
      <progress id="rows-progress" max={total.value} value={done} />
      <button type="button" onClick={stop}>
        {words.table.stop}
      </button>
    </div>
  );
}

/** At most `most` rows, evenly spread. */
function spread(rows: Row[], most: number): Row[] {
  return rows.length <= most ? rows : Array.from({ length: most }, (_, at) => rows[Math.floor((at * rows.length) / most)]).filter((row) => row !== undefined);
}

function Summary({ rows }: { rows: Row[] }) {
  const shown = model.value;
  const kind = picture.value;
  const fields = modelFields.value;
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      const scale = scaleOf(shown, rows[0]?.scale);
      return kind === "dots" ? swarm(fields, spread(rows, MAX_DOTS), scale, canvas) : bars(fields, rows, scale, canvas);
    },
    [rows, kind, shown, fields],
  );
  if (!shown) return null;
  const name = rows[0]?.explained.output ?? "";
  const scale = scaleOf(shown, rows[0]?.scale);
  const ranking = meanSizes(fields, rows).slice(0, 12).map(({ title, mean }) => `${title} ${scale.change(mean).replace("+", "")}`).join("; ");
  return (
    <>
      <p data-testid="summed">
        {words.table.summed(rows.length, name)}
        {kind === "dots" && rows.length > MAX_DOTS && words.table.sampled(MAX_DOTS)}
      </p>
      {rows[0]?.unreliable && (
        <p class="trouble" role="alert" data-testid="unreliable">
          {words.why.unreliable(rows[0].unreliable)}
        </p>
      )}
      <div class="views" role="group" aria-label={words.table.pictures}>
        {(["dots", "bars"] as const).map((one) => (
          <button key={one} type="button" aria-pressed={kind === one} onClick={() => (picture.value = one)}>
            {words.table[one]}
          </button>
        ))}
      </div>
      <Chart draw={draw} title={words.table.title(shown.spec.name, name, rows.length)} description={words.table.ranking(ranking)} />
      <p class="keep">
        {words.table.keep}{" "}
        <button type="button" class="quiet" onClick={() => save(new Blob([writeCsv(fields, rows)], { type: "text/csv" }), `why-${shown.spec.name}`, "csv")}>
          {words.table.csv}
        </button>
      </p>
    </>
  );
}
