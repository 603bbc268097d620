/** The explanation of the current row: pictures, and the facts about them as text. */
import { useCallback, useMemo } from "preact/hooks";

import { startQuery, explanationQuery, explainBody, fieldErrors, outputIndex, predictionQuery, type RowExplanation } from "../answers";
import { changed, current, modelFields, model, loadModels, start } from "../state";
import { ErrorNotice } from "../ErrorNotice";
import { scaleOf } from "../format";
import { words } from "../texts";
import { Options } from "./Options";
import { Chart } from "./Chart";
import { changeChart, changes } from "./change";
import { contributions } from "./contributions";
import type { Canvas } from "./draw";
import { Facts } from "./Facts";
import { Inputs } from "./Inputs";
import { Numbers } from "./Numbers";
import type { Comparison } from "./comparison";
import { said } from "./Prediction";
import { Progress } from "./Progress";
import { bySize } from "./reasons";
import { accuracyWarning, changeSentence, explainedName, reasoned, scaleMeaning } from "./sentences";
import { waterfall } from "./waterfall";

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
  // For a single text, the coloured text is above the waterfall.
  const textFirst = modelFields.value.length === 1 && modelFields.value[0]?.kind === "text";
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
      {why.answer.reliable === false && (
        <p class="trouble" role="alert" data-testid="unreliable">
          {words.why.unreliable(why.answer.reliable_reason ?? "")}
        </p>
      )}
      <WhatChanged {...comparison} />
      <Sentences {...comparison} />
      {textFirst && <Inputs {...comparison} />}
      <Waterfall {...comparison} />
      {!textFirst && <Inputs {...comparison} />}
      <Facts why={why} explained={explained} />
      <Numbers why={why} explained={explained} before={from} />
    </>
  );
}

function Sentences({ why, explained }: Comparison) {
  const shown = model.value;
  if (!shown) return null;
  const { average, reasons } = reasoned(modelFields.value, why, explained, scaleOf(shown, why.answer.scale));
  const meaning = scaleMeaning(why, explained);
  const warning = accuracyWarning(why);
  return (
    <div data-testid="sentence">
      <p>{average}</p>
      {reasons.map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
      {meaning && (
        <p class="hint" data-testid="scale">
          {meaning}
        </p>
      )}
      {warning && (
        <p class="warning" data-testid="accuracy">
          {warning}
        </p>
      )}
    </div>
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
      {!isImageAlone() && <Chart draw={draw} heading={words.why.changeChart(explainedName(why, explained))} title={words.why.changeChart(explainedName(why, explained))} description={`${words.why.changedBy}: ${listed}.`} />}
    </div>
  );
}

const isImageAlone = () => modelFields.value.length === 1 && modelFields.value[0]?.kind === "image";

function Waterfall({ why, explained }: Comparison) {
  const shown = model.value;
  const fields = modelFields.value;
  const given = useMemo(() => shown && { explained, scale: scaleOf(shown, why.answer.scale), elements: contributions(fields, explained, why.row) }, [explained, shown, fields, why]);
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!given) throw new Error("a picture has its model");
      return waterfall(given, canvas);
    },
    [given],
  );
  if (!given || !shown || isImageAlone()) return null;
  const { elements, scale } = given;
  const listed = bySize(elements).slice(0, 9).map((one) => `${one.label} ${scale.change(one.value)}`).join("; ");
  const [base, value] = [scale.value(explained.base_value), scale.value(explained.value)];
  return <Chart draw={draw} description={words.why.described(base, value, listed)} title={words.why.picture(shown.spec.name, explainedName(why, explained), value)} request={explainBody(why.row, [explained.output])} />;
}
