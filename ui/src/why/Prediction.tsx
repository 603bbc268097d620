/** The prediction for the current row. */
import { batch } from "@preact/signals";

import { secondLabel, type Prediction as Said } from "../api/answer";
import { explanationQuery, outside, predictionQuery, startQuery } from "../answers";
import { formatNumber, share, type Scale, scaleOf } from "../format";
import { changed, insteadOf, model, modelFields, output, threshold } from "../state";
import { words } from "../texts";

const MAX_LABELS = 5;

export function Prediction() {
  const { value: predicted, asking, error } = predictionQuery.state.value;
  const shown = model.value;
  if (!shown || !predicted) return null;
  const value = predicted.prediction;
  const scale = scaleOf(shown);
  const before = changed.value.length ? startQuery.state.value.value?.prediction : undefined;
  return (
    <section class={`card prediction ${asking || error ? "old" : ""}`} aria-labelledby="prediction-heading">
      <h2 id="prediction-heading">{words.prediction.heading}</h2>
      <OutsideBanner />
      <p class="answer" aria-live="polite" data-testid="prediction">
        {said(value, scale)}
      </p>
      {shown.spec.output.scores === "logits" && value.scores && <p class="hint">{chances(value)}</p>}
      {before && (
        <p class="before" data-testid="before">
          {words.prediction.start(said(before, scale))}
        </p>
      )}
      {value.scores && <Scores scores={value.scores} before={before?.scores} write={scale.value} isShare={shown.spec.output.scores === "probabilities"} />}
      <Decision scores={value.scores} />
      <WhyNot value={value} />
      {error && <p class="hint">{words.prediction.old}</p>}
    </section>
  );
}

/** A warning above the prediction, if a value is outside the range that the model was compared with. */
function OutsideBanner() {
  const listed = modelFields.value.flatMap((field) => {
    const found = outside.value[field.key];
    return found ? [words.prediction.outside(field.title, formatNumber(found.low), formatNumber(found.high))] : [];
  });
  if (!listed.length) return null;
  return (
    <div class="trouble" role="alert" data-testid="outside">
      {listed.map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
      <p>{words.prediction.doNotRely}</p>
    </div>
  );
}

/** The prediction as text. */
export function said({ label, labels, scores, value, values }: Said, scale: Scale): string {
  if (labels) return labels.map((each) => `${each}, ${scale.value(scores?.[each] ?? 0)}`).join("; ") || words.prediction.none;
  if (label !== undefined) return `${label}, ${scale.value(scores?.[label] ?? 0)}`;
  if (value !== undefined) return scale.value(value);
  return Object.entries(values ?? {})
    .map(([name, number]) => `${name} ${scale.value(number)}`)
    .join(", ");
}

/** The probability of the predicted label, from raw scores: softmax over one of several labels, else the sigmoid. */
function chances({ label, labels, scores = {} }: Said): string {
  if (labels) return labels.map((each) => `${each}: ${words.prediction.chance(share(1 / (1 + Math.exp(-(scores[each] ?? 0)))))}`).join("; ");
  const all = Object.values(scores);
  const most = Math.max(...all);
  const total = all.reduce((sum, one) => sum + Math.exp(one - most), 0);
  return words.prediction.chance(share(Math.exp((scores[label ?? ""] ?? 0) - most) / total));
}

interface ScoresProps {
  scores: Record<string, number>;
  before?: Record<string, number>;
  write: (number: number) => string;
  isShare: boolean;
}

function Scores({ scores, before, write, isShare }: ScoresProps) {
  const sorted = Object.entries(scores).sort(([, one], [, other]) => other - one);
  const rest = sorted.length - MAX_LABELS;
  return (
    <ul class="scores">
      {sorted.slice(0, MAX_LABELS).map(([label, score]) => (
        <li key={label}>
          <span>{label}</span>
          {isShare && <meter min={0} max={1} value={score} aria-label={words.prediction.now(label)} />}
          <span class="figure">{write(score)}</span>
          {before && <span class="figure was">{words.prediction.was(write(before[label] ?? 0))}</span>}
        </li>
      ))}
      {rest > 0 && <li class="hint">{words.prediction.rest(rest)}</li>}
    </ul>
  );
}

/** The decision at the person's own threshold, for the explained output. */
function Decision({ scores }: { scores?: Record<string, number> }) {
  const explained = explanationQuery.state.value.value?.explained[0]?.output;
  const score = explained === undefined ? undefined : scores?.[explained];
  if (threshold.value === null || explained === undefined || score === undefined || model.value?.spec.output.scores !== "probabilities") return null;
  return <p data-testid="decision">{words.prediction.decides(explained, share(score), share(threshold.value), score >= threshold.value)}</p>;
}

/** A button that explains the predicted label instead of the second most likely one, and a button that leaves this. */
function WhyNot({ value }: { value: Said }) {
  const { label } = value;
  const second = secondLabel(value);
  if (label === undefined || second === undefined) return null;
  const compared = insteadOf.value !== null;
  const click = () => batch(() => ([output.value, insteadOf.value] = compared ? [null, null] : [label, second]));
  return (
    <p>
      <button type="button" class="quiet" data-testid="why-not" onClick={click}>
        {compared ? words.prediction.whyAlone(output.value ?? label) : words.prediction.whyNot(label, second)}
      </button>
    </p>
  );
}

/** On a phone: the prediction and its change stay in view while a value is edited. */
export function PhoneBar() {
  const value = predictionQuery.state.value.value?.prediction;
  const shown = model.value;
  if (!shown || !value) return null;
  const scale = scaleOf(shown);
  const before = changed.value.length ? startQuery.state.value.value?.prediction : undefined;
  return (
    <div class="phone-bar" data-testid="phone-bar" aria-hidden="true">
      <b>{said(value, scale)}</b>
      {before && <span> {words.prediction.was(said(before, scale))}</span>}
    </div>
  );
}
