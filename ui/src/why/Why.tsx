/** The explanation of the current row: pictures, and the facts about them as text. */
import { useCallback, useMemo } from "preact/hooks";

import { startQuery, explanationQuery, fieldErrors, outputIndex, predictionQuery, type RowExplanation } from "../answers";
import { methodInfo } from "../methods";
import { changed, modelFields, model, loadModels } from "../state";
import { ErrorNotice } from "../ErrorNotice";
import { residualText, formatNumber, scaleOf, withSign, durationText } from "../format";
import { Options } from "./Options";
import { Chart } from "./Chart";
import { contributions } from "./contributions";
import { Inputs } from "./Inputs";
import { Numbers } from "./Numbers";
import type { Comparison } from "./comparison";
import { Progress } from "./Progress";
import { extent, waterfall, type Waterfall } from "./waterfall";

export function Why() {
  const { value, asking, error, cancelled } = explanationQuery.state.value;
  const inFields = Object.keys(fieldErrors.value).length > 0;
  // If /predict failed as well, only one of the two errors is shown.
  const shownError = error ?? predictionQuery.state.value.error;
  return (
    <section class="card why" aria-labelledby="why-heading" aria-busy={asking}>
      <h2 id="why-heading">Why</h2>
      <Options />
      {shownError && !inFields && <ErrorNotice error={shownError} onRetry={() => (shownError.status === 404 ? void loadModels() : (predictionQuery.retry(), explanationQuery.retry()))} what="No explanation:" />}
      {inFields && <p class="fault">Mend what is red, and the explanation comes.</p>}
      {cancelled && (
        <p class="trouble">
          Cancelled.{" "}
          <button type="button" onClick={() => explanationQuery.retry()}>
            Explain after all
          </button>
        </p>
      )}
      <Progress />
      {value && (
        <div class={asking || shownError ? "old" : ""}>
          {shownError && <p class="hint">Below is the last row that could be explained.</p>}
          <Pictures why={value} />
        </div>
      )}
    </section>
  );
}

function Pictures({ why }: { why: RowExplanation }) {
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
            Output{" "}
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
      <Sentence why={why} explained={explained} />
      {textFirst && <Inputs {...comparison} />}
      <Waterfalls {...comparison} />
      {!textFirst && <Inputs {...comparison} />}
      <Facts why={why} explained={explained} />
      <Numbers why={why} explained={explained} before={from} />
    </>
  );
}

function Sentence({ why, explained }: Comparison) {
  const shown = model.value;
  if (!shown) return null;
  const scale = scaleOf(shown);
  const all = contributions(modelFields.value, explained, why.row).sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  const [first, second] = all.filter((one) => one.value !== 0);
  const does = (value: number) => `${value > 0 ? "adds" : "takes away"} ${withSign(value, (size) => scale.change(size).replace(/^\+/, "")).replace(/^[+−]/, "")}`;
  return (
    <p data-testid="sentence">
      On average over {why.answer.background.rows} known rows the model says {scale.value(explained.base_value)} for {explained.output}; for this one{" "}
      {scale.value(explained.value)}.{first && modelFields.value.some((field) => field.kind !== "image") && (
        <>
          {" "}
          Most of the difference: <b>{first.label}</b> {does(first.value)}
          {second && (
            <>
              , <b>{second.label}</b> {does(second.value)}
            </>
          )}
          {scale.unit && ` (${scale.unit})`}.
        </>
      )}
    </p>
  );
}

function Waterfalls({ why, explained, before }: Comparison) {
  const shown = model.value;
  const fields = modelFields.value;
  const scale = useMemo(() => (shown ? scaleOf(shown) : undefined), [shown]);
  const now = useMemo(() => scale && { explained, scale, elements: contributions(fields, explained, why.row) }, [explained, scale, fields, why]);
  const then = useMemo(() => scale && before && { explained: before.explained, scale, elements: contributions(fields, before.explained, before.why.row) }, [before?.explained, scale, fields]);
  if (!now || !shown || (fields.length === 1 && fields[0]?.kind === "image")) return null;
  const domain = then && ([Math.min(extent(now)[0], extent(then)[0]), Math.max(extent(now)[1], extent(then)[1])] as [number, number]);
  return (
    <div class="beside">
      {then && <OneWaterfall given={{ ...then, domain }} heading="At the start" model={shown.spec.name} />}
      <OneWaterfall given={{ ...now, domain }} heading={then ? "Now" : undefined} model={shown.spec.name} />
    </div>
  );
}

function OneWaterfall({ given, heading, model: name }: { given: Waterfall; heading?: string; model: string }) {
  const { explained, elements: all, scale } = given;
  const draw = useCallback((canvas: Parameters<typeof waterfall>[1]) => waterfall(given, canvas), [explained, all, given.domain?.[0], given.domain?.[1]]);
  const listed = [...all].sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, 9);
  const description = `From the average, ${scale.value(explained.base_value)}, to the prediction, ${scale.value(explained.value)}: ${listed.map((one) => `${one.label} ${scale.change(one.value)}`).join("; ")}.`;
  return <Chart draw={draw} description={description} heading={heading} title={`Why ${name} says ${explained.output}: ${scale.value(explained.value)}${heading ? `, ${heading.toLowerCase()}` : ""}`} />;
}

function Facts({ why, explained }: Comparison) {
  const shown = model.value;
  if (!shown) return null;
  const { answer } = why;
  const distance = answer.expected_distance;
  return (
    <dl class="facts">
      <dt>Method</dt>
      <dd>
        <b>{answer.method}</b>: {methodInfo(answer.method)?.text}.
        {distance !== undefined && distance >= 0.0005 && ` Tried on rows of this model, it was ${formatNumber(100 * Number(distance.toPrecision(2)))} % away from the reference on average.`}
        {answer.method_reason && ` Chosen: ${answer.method_reason}.`}
        {answer.complete === false && " It was cut short by its deadline; the bars are what was found until then."}
      </dd>
      <dt>Adds up</dt>
      <dd>{residualText(explained, scaleOf(shown))}.</dd>
      <dt>Compared with</dt>
      <dd>
        the {answer.background.rows} rows of the background{answer.background.name !== "default" && ` ${answer.background.name}`} <span title={answer.background.sha256}>({answer.background.sha256.slice(0, 8)}…)</span>
      </dd>
      <dt>Took</dt>
      <dd>
        {durationText(explanationQuery.state.value.ms)}
        {answer.cached && ", as it had been computed before"}
      </dd>
      <dt>In doubt?</dt>
      <dd>
        <a href="/help#reading">What the picture means, and what it does not</a>
      </dd>
    </dl>
  );
}

