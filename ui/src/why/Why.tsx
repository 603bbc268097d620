/** Why the model says so: pictures, and what stands behind them in words. */
import { useCallback, useMemo } from "preact/hooks";

import { beginning, explaining, faults, looked, predicting, type Why as Answered } from "../answers";
import { described } from "../methods";
import { changed, list, model, open } from "../state";
import { Trouble } from "../Trouble";
import { addsUp, plain, scaleOf, signed, took } from "../words";
import { Asked } from "./Asked";
import { Chart } from "./Chart";
import { elements } from "./elements";
import { Inputs } from "./Inputs";
import { Numbers } from "./Numbers";
import type { Pictured } from "./pictured";
import { Progress } from "./Progress";
import { reach, waterfall, type Waterfall } from "./waterfall";

export function Why() {
  const { value, asking, refusal, cancelled } = explaining.shown.value;
  const inFields = Object.keys(faults.value).length > 0;
  // Where /predict cannot be asked either, one of the two says so.
  const trouble = refusal ?? predicting.shown.value.refusal;
  return (
    <section class="card why" aria-labelledby="why-heading" aria-busy={asking}>
      <h2 id="why-heading">Why</h2>
      <Asked />
      {trouble && !inFields && <Trouble refusal={trouble} onRetry={() => (trouble.status === 404 ? void open() : (predicting.retry(), explaining.retry()))} what="No explanation:" />}
      {inFields && <p class="fault">Mend what is red, and the explanation comes.</p>}
      {cancelled && (
        <p class="trouble">
          Cancelled.{" "}
          <button type="button" onClick={() => explaining.retry()}>
            Explain after all
          </button>
        </p>
      )}
      <Progress />
      {value && (
        <div class={asking || trouble ? "old" : ""}>
          {trouble && <p class="hint">Below is the last row that could be explained.</p>}
          <Shown why={value} />
        </div>
      )}
    </section>
  );
}

function Shown({ why }: { why: Answered }) {
  const explained = why.explained[Math.min(looked.value, why.explained.length - 1)];
  const shown = model.value;
  const before = changed.value.length ? beginning.shown.value.value : undefined;
  if (!explained || !shown) return null;
  const from = before?.explained.find((one) => one.output === explained.output);
  const pictured: Pictured = { why, explained, before: from && before ? { why: before, explained: from } : undefined };
  // A text is read before its parts are compared.
  const textFirst = list.value.length === 1 && list.value[0]?.kind === "text";
  return (
    <>
      {why.explained.length > 1 && (
        <p>
          <label>
            Output{" "}
            <select value={looked.value} onChange={(event) => (looked.value = Number(event.currentTarget.value))}>
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
      {textFirst && <Inputs {...pictured} />}
      <Falls {...pictured} />
      {!textFirst && <Inputs {...pictured} />}
      <Facts why={why} explained={explained} />
      <Numbers why={why} explained={explained} before={from} />
    </>
  );
}

function Sentence({ why, explained }: Pictured) {
  const shown = model.value;
  if (!shown) return null;
  const scale = scaleOf(shown);
  const all = elements(list.value, explained, why.row).sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  const [first, second] = all.filter((one) => one.value !== 0);
  const does = (value: number) => `${value > 0 ? "adds" : "takes away"} ${signed(value, (size) => scale.change(size).replace(/^\+/, "")).replace(/^[+−]/, "")}`;
  return (
    <p data-testid="sentence">
      On average over {why.answer.background.rows} known rows the model says {scale.value(explained.base_value)} for {explained.output}; for this one{" "}
      {scale.value(explained.value)}.{first && list.value.some((field) => field.kind !== "image") && (
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

function Falls({ why, explained, before }: Pictured) {
  const shown = model.value;
  const fields = list.value;
  const scale = useMemo(() => (shown ? scaleOf(shown) : undefined), [shown]);
  const now = useMemo(() => scale && { explained, scale, elements: elements(fields, explained, why.row) }, [explained, scale, fields, why]);
  const then = useMemo(() => scale && before && { explained: before.explained, scale, elements: elements(fields, before.explained, before.why.row) }, [before?.explained, scale, fields]);
  if (!now || !shown || (fields.length === 1 && fields[0]?.kind === "image")) return null;
  const domain = then && ([Math.min(reach(now)[0], reach(then)[0]), Math.max(reach(now)[1], reach(then)[1])] as [number, number]);
  return (
    <div class="beside">
      {then && <Fall given={{ ...then, domain }} heading="At the start" model={shown.spec.name} />}
      <Fall given={{ ...now, domain }} heading={then ? "Now" : undefined} model={shown.spec.name} />
    </div>
  );
}

function Fall({ given, heading, model: name }: { given: Waterfall; heading?: string; model: string }) {
  const { explained, elements: all, scale } = given;
  const draw = useCallback((canvas: Parameters<typeof waterfall>[1]) => waterfall(given, canvas), [explained, all, given.domain?.[0], given.domain?.[1]]);
  const listed = [...all].sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, 9);
  const words = `From the average, ${scale.value(explained.base_value)}, to the prediction, ${scale.value(explained.value)}: ${listed.map((one) => `${one.label} ${scale.change(one.value)}`).join("; ")}.`;
  return <Chart draw={draw} words={words} heading={heading} title={`Why ${name} says ${explained.output}: ${scale.value(explained.value)}${heading ? `, ${heading.toLowerCase()}` : ""}`} />;
}

function Facts({ why, explained }: Pictured) {
  const shown = model.value;
  if (!shown) return null;
  const { answer } = why;
  const distance = answer.expected_distance;
  return (
    <dl class="facts">
      <dt>Method</dt>
      <dd>
        <b>{answer.method}</b>: {described(answer.method)?.words}.
        {distance !== undefined && distance >= 0.0005 && ` Tried on rows of this model, it was ${plain(100 * Number(distance.toPrecision(2)))} % away from the reference on average.`}
        {answer.method_reason && ` Chosen: ${answer.method_reason}.`}
        {answer.complete === false && " It was cut short by its deadline; the bars are what was found until then."}
      </dd>
      <dt>Adds up</dt>
      <dd>{addsUp(explained, scaleOf(shown))}.</dd>
      <dt>Compared with</dt>
      <dd>
        the {answer.background.rows} rows of the background{answer.background.name !== "default" && ` ${answer.background.name}`} <span title={answer.background.sha256}>({answer.background.sha256.slice(0, 8)}…)</span>
      </dd>
      <dt>Took</dt>
      <dd>
        {took(explaining.shown.value.ms)}
        {answer.cached && ", as it had been computed before"}
      </dd>
      <dt>In doubt?</dt>
      <dd>
        <a href="/help#reading">What the picture means, and what it does not</a>
      </dd>
    </dl>
  );
}

