/** A number: a text field, and a slider over the background's range. */
import { formatValue } from "../format";
import { toNumber } from "../numbers";
import { current, setText } from "../state";
import { words } from "../texts";
import type { EntryProps } from "./entry";

/** The number of steps of a slider. */
const STEPS = 200;

export function NumberField({ field, id, described, wrong }: EntryProps) {
  const text = current.value[field.key] ?? "";
  const number = toNumber(text);
  const [low, high] = field.range ?? [0, 0];
  const step = field.integer ? 1 : tidy((high - low) / STEPS);
  return (
    <div class="number">
      {high > low && (
        <input
          type="range"
          aria-label={words.form.slider(field.title)}
          min={floor(low, step)}
          max={ceil(high, step)}
          step={step}
          value={typeof number === "number" ? number : low}
          onInput={(event) => setText(field.key, event.currentTarget.value)}
        />
      )}
      <input
        id={id}
        type="text"
        inputMode="decimal"
        autocomplete="off"
        aria-describedby={described}
        aria-invalid={wrong}
        value={text}
        onInput={(event) => setText(field.key, event.currentTarget.value)}
      />
      {typeof number === "number" && text.includes(",") && <span class="hint">{words.form.read(formatValue(number))}</span>}
    </div>
  );
}

/** Round a step down to one of 1, 2, 5, 10, 20, …, so that the slider shows short numbers. */
function tidy(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  const digit = [5, 2, 1].find((one) => one * power <= step) ?? 1;
  return Number((digit * power).toPrecision(3));
}

const floor = (value: number, step: number) => Number((Math.floor(value / step) * step).toPrecision(12));
const ceil = (value: number, step: number) => Number((Math.ceil(value / step) * step).toPrecision(12));
