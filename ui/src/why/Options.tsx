/** The options of an explanation: class and background, and under "Advanced" the method, samples, scale and players. */
import { batch } from "@preact/signals";
import type { ComponentChildren } from "preact";

import { predictionQuery } from "../answers";
import { methodInfo } from "../methods";
import { background, insteadOf, method, model, modelFields, output, players, samples, scaleName, threshold } from "../state";
import { words } from "../texts";
import { playerChoices } from "./playerChoices";

interface ChoiceProps {
  name: string;
  test: string;
  value: string | number;
  first: string;
  options: [value: string | number, text: string][];
  onPick: (value: string) => void;
}

function Choice({ name, test, value, first, options, onPick }: ChoiceProps) {
  return (
    <label>
      {name}{" "}
      <select data-testid={test} value={value} onChange={(event) => onPick(event.currentTarget.value)}>
        <option value="">{first}</option>
        {options.map(([one, text]) => (
          <option key={one} value={one}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function pickOutput(label: string) {
  batch(() => ([output.value, insteadOf.value] = [label || null, label && label !== insteadOf.value ? insteadOf.value : null]));
}

export function Options() {
  const shown = model.value;
  if (!shown) return null;
  const { labels } = shown.spec.output;
  const t = words.options;
  return (
    <>
      <p class="asked">
        {labels.length > 0 && (
          <Choice name={t.explain} test="class" value={output.value ?? ""} first={t.predicted(predictionQuery.state.value.value?.prediction.label)} options={labels.map((label) => [label, label])} onPick={pickOutput} />
        )}
        <Compared explained={output.value} />
      </p>
      <Advanced>{shown.spec.output.scores === "probabilities" && <Threshold />}</Advanced>
    </>
  );
}

/** What an explanation compares with: another label, and a background. explained: the explained label, if it is chosen. */
export function Compared({ explained }: { explained: string | null }) {
  const shown = model.value;
  if (!shown) return null;
  const { labels } = shown.spec.output;
  const backgrounds = Object.entries(shown.backgrounds ?? {});
  const t = words.options;
  const pickOther = (label: string) => batch(() => ([output.value, insteadOf.value] = [explained, label || null]));
  return (
    <>
      {labels.length > 1 && explained !== null && <Choice name={t.insteadOf} test="instead-of" value={insteadOf.value ?? ""} first={t.none} options={labels.filter((label) => label !== explained).map((label) => [label, label])} onPick={pickOther} />}
      {backgrounds.length > 0 && (
        <Choice name={t.compare} test="background" value={background.value ?? ""} first={t.usualBackground} options={backgrounds.map(([name, rows]) => [name, t.background(name, rows)])} onPick={(value) => (background.value = value || null)} />
      )}
    </>
  );
}

/** Method, samples, scale and players. compared: whether two outputs are compared, so that the scale is fixed. children: more options. */
export function Advanced({ compared = insteadOf.value !== null, children }: { compared?: boolean; children?: ComponentChildren }) {
  const shown = model.value;
  if (!shown) return null;
  const { labels, scores } = shown.spec.output;
  const { methods, default: usual } = shown.certificate;
  const fitting = Object.entries(methods).flatMap(([name, about]): [string, string][] => (about.fits ? [[name, name]] : []));
  const counts = [...new Set([16, 64, 256, 1024, 4096, ...(samples.value ? [samples.value] : [])])].sort((one, other) => one - other);
  const choices = playerChoices(modelFields.value, players.value);
  const t = words.options;
  return (
    <details class="advanced">
      <summary>{t.advanced}</summary>
      <p class="asked">
        <Choice name={t.method} test="method" value={method.value === "auto" ? "" : method.value} first={t.usual(usual)} options={fitting} onPick={(value) => (method.value = value || "auto")} />
        {methodInfo(method.value === "auto" ? usual : method.value)?.samples && (
          <Choice name={t.samples} test="samples" value={samples.value ?? ""} first={t.usualSamples} options={counts.map((count) => [count, String(count)])} onPick={(value) => (samples.value = Number(value) || null)} />
        )}
        {labels.length > 0 && !compared && (
          <Choice name={t.scale} test="scale-name" value={scaleName.value ?? ""} first={t.usualScale} options={[["output", t.scaleOf[scores] ?? scores], ["log_odds", t.logOdds]]} onPick={(value) => (scaleName.value = value || null)} />
        )}
        {choices.length > 0 && <Choice name={t.players} test="players" value={players.value ?? ""} first={t.usualPlayers} options={choices} onPick={(value) => (players.value = value || null)} />}
        {children}
      </p>
    </details>
  );
}

function Threshold() {
  return (
    <label>
      {words.prediction.threshold}{" "}
      <input type="number" min={0} max={100} step={1} data-testid="threshold" value={threshold.value === null ? "" : Number((100 * threshold.value).toPrecision(4))} onInput={(event) => (threshold.value = event.currentTarget.value === "" ? null : Math.min(1, Math.max(0, Number(event.currentTarget.value) / 100)))} /> %
    </label>
  );
}
