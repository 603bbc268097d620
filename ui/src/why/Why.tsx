/** The explanation of the current row, with its options and progress, and what changed from the start row. */
import { useCallback, useMemo } from "preact/hooks";

import { startQuery, explanationQuery, fieldErrors, outputIndex, predictionQuery, type RowExplanation } from "../answers";
import { changed, current, modelFields, model, loadModels, start } from "../state";
import { ErrorNotice } from "../ErrorNotice";
import { scaleOf } from "../format";
import { words } from "../texts";
import { Options } from "./Options";
import { Chart } from "./Chart";
import { changeChart, changes } from "./change";
import { contributions } from "./contributions";
import type { Canvas } from "./draw";
import type { Comparison } from "./comparison";
import { Explained, isImageAlone, Unreliable } from "./Explained";
import { said } from "./Prediction";
import { Progress } from "./Progress";
import { changeSentence, explainedName, savedNote } from "./sentences";

export function Why() {
  const { value, asking, error, cancelled } = explanationQuery.state.value;
  const inFields = Object.keys(fieldErrors.value).length > 0;
  // If /predict failed as well, only one of the two errors is shown.
  const shownError = error ?? predictionQuery.state.value.error;
  return (
    <section class="card why" aria-labelledby="why-heading" aria-busy={asking}>
      <h2 id="why-heading">{words.why.heading}</h2>
      <Options />
      {shownError && !inFields && <ErrorNotice error={shownError} onRetry={() => (shownError.status === 404 ? void loadModels() : (predictionQuery.retry(), explanationQuery.retry()))} what={words.why.none} />}
      {inFields && <p class="fault">{words.why.red}</p>}
      {cancelled && (
        <p class="trouble">
          {words.why.cancelled}{" "}
          <button type="button" onClick={() => explanationQuery.retry()}>
            {words.why.again}
          </button>
        </p>
      )}
      <Progress />
      {value && (
        <div class={asking || shownError || inFields ? "old" : ""}>
          {(shownError || inFields) && <p class="hint">{words.why.old}</p>}
          <Explanation why={value} />
        </div>
      )}
    </section>
  );
}

function Explanation({ why }: { why: RowExplanation }) {
  const explained = why.explained[Math.min(outputIndex.value, why.explained.length - 1)];
  const shown = model.value;
  const before = changed.value.length ? startQuery.state.value.value : undefined;
  if (!explained || !shown) return null;
  const from = before?.explained.find((one) => one.output === explained.output);
  const comparison: Comparison = { why, explained, before: from && before ? { why: before, explained: from } : undefined };
  return (
    <>
      {why.explained.length > 1 && (
        <p>
          <label>
            {words.options.output}{" "}
            <select value={outputIndex.value} onChange={(event) => (outputIndex.value = Number(event.currentTarget.value))}>
              {why.explained.map((one, place) => (
                <option key={one.output} value={place}>
                  {one.output}
                </option>
              ))}
            </select>
          </label>
        </p>
      )}
      <Unreliable answer={why.answer} />
      <WhatChanged {...comparison} />
      <Explained {...comparison} />
    </>
  );
}

/** One sentence and one chart for the difference to the start row. */
function WhatChanged({ why, explained, before }: Comparison) {
  const shown = model.value;
  const fields = modelFields.value;
  const then = before?.explained;
  const list = useMemo(() => before && changes(contributions(fields, before.explained, before.why.row), contributions(fields, explained, why.row)), [fields, explained, then, why]);
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown || !list) throw new Error("a change has a start");
      return changeChart(list, explained, scaleOf(shown, why.answer.scale), canvas);
    },
    [shown, list, explained, why],
  );
  if (!shown || !before || !list) return null;
  const scale = scaleOf(shown, why.answer.scale);
  const [from, to] = [before.why, why].map(({ prediction }) => said(prediction, scaleOf(shown))) as [string, string];
  const listed = list.map((one) => `${one.label} ${scale.change(one.now - one.before)}`).join("; ");
  return (
    <div class="changed">
      <h3>{words.why.changed}</h3>
      <p data-testid="changed">
        {changeSentence(fields, changed.value, start.value, current.value)} {from === to ? words.why.stayed(to) : words.why.went(from, to)}
      </p>
      {!isImageAlone() && <Chart draw={draw} heading={words.why.changeChart(explainedName(why, explained))} note={savedNote(shown, why.answer)} title={words.why.changeChart(explainedName(why, explained))} description={`${words.why.changedBy}: ${listed}.`} />}
    </div>
  );
}
