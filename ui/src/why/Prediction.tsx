/** The prediction for the current row. */
import type { Prediction as Said } from "../api/answer";
import { predictionQuery, startQuery } from "../answers";
import { changed, model } from "../state";
import { scaleOf } from "../format";

const MAX_LABELS = 5;

export function Prediction() {
  const { value, asking, error } = predictionQuery.state.value;
  const shown = model.value;
  if (!shown || !value) return null;
  const scale = scaleOf(shown);
  const before = changed.value.length ? startQuery.state.value.value?.prediction : undefined;
  return (
    <section class={`card prediction ${asking || error ? "old" : ""}`} aria-labelledby="prediction-heading">
      <h2 id="prediction-heading">Prediction</h2>
      <p class="answer" aria-live="polite" data-testid="prediction">
        {sentence(value, scale.value)}
      </p>
      {before && (
        <p class="before" data-testid="before">
          At the start: {sentence(before, scale.value)}
        </p>
      )}
      {value.scores && <Scores scores={value.scores} before={before?.scores} write={scale.value} isShare={shown.spec.output.scores === "probabilities"} />}
      {error && <p class="hint">This is of the last row that the service could read.</p>}
    </section>
  );
}

function sentence({ label, labels, scores, value, values }: Said, write: (number: number) => string) {
  if (labels) return labels.map((each) => `${each}, ${write(scores?.[each] ?? 0)}`).join("; ") || "no label";
  if (label !== undefined) return `${label}, ${write(scores?.[label] ?? 0)}`;
  if (value !== undefined) return write(value);
  return Object.entries(values ?? {})
    .map(([name, number]) => `${name} ${write(number)}`)
    .join(", ");
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
          {isShare && <meter min={0} max={1} value={score} aria-label={`${label}, now`} />}
          <span class="figure">{write(score)}</span>
          {before && <span class="figure was">was {write(before[label] ?? 0)}</span>}
        </li>
      ))}
      {rest > 0 && <li class="hint">and {rest} less likely</li>}
    </ul>
  );
}
