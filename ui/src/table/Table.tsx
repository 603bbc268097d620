/** Many rows, pasted or from a file: predicted, explained, summarized in one picture, and listed. */
import { useEffect } from "preact/hooks";

import { ErrorNotice } from "../ErrorNotice";
import { model } from "../state";
import { words } from "../texts";
import { resetFor, runTable, stop } from "./actions";
import { Entry } from "./Entry";
import { Results } from "./Results";
import { ignored, progress, requestError } from "./run";
import { refusedRows, results } from "./state";
import { Summary } from "./Summary";

export function Table() {
  const shown = model.value;
  useEffect(() => {
    if (shown) resetFor(shown.spec.name);
  }, [shown]);
  if (!shown) return null;
  const refused = refusedRows.value.length;
  return (
    <>
      <div class="columns">
        <Entry />
        <div class="results">
          <section class="card" aria-labelledby="summary-heading">
            <h2 id="summary-heading">{words.table.results}</h2>
            <RunProgress />
            {requestError.value && <ErrorNotice error={requestError.value} onRetry={() => void runTable()} what={words.table.stopped} />}
            {results.value && ignored.value.length > 0 && <p class="hint">{words.table.ignored(ignored.value.join(", "))}</p>}
            {refused > 0 && (
              <p class="trouble" role="alert" data-testid="rows-faults">
                {words.table.refused(refused)}
              </p>
            )}
            <Summary />
            {!results.value && !progress.value && !requestError.value && <p class="hint">{words.table.empty}</p>}
          </section>
        </div>
      </div>
      <Results />
    </>
  );
}

function RunProgress() {
  if (!progress.value) return null;
  const { kind, done, total, waitReason } = progress.value;
  return (
    <div class="progress" data-testid="rows-progress">
      <label for="rows-progress">{waitReason ? waitReason + words.table.waits : kind === "reading" ? words.table.reading : words.table[kind](Math.floor(done), total)}</label>
      <progress id="rows-progress" max={total || 1} value={kind === "reading" ? undefined : done} />
      <button type="button" onClick={stop}>
        {words.table.stop}
      </button>
    </div>
  );
}
