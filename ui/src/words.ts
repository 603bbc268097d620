/** Numbers in words. */
import type { Explained } from "./api/answer";
import type { Manifest } from "./model";

const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

/** How a model's outputs are written. */
export interface Scale {
  value: (number: number) => string;
  change: (number: number) => string;
  axis: (number: number) => string;
  unit: string;
}

export function scaleOf(model: Manifest): Scale {
  const { scores, unit = "" } = model.spec.output;
  if (scores === "probabilities") {
    return {
      value: (number) => `${percent.format(100 * number)} %`,
      change: (number) => signed(number, (size) => percent.format(100 * size)),
      axis: (number) => `${short.format(100 * number)} %`,
      unit: "percentage points",
    };
  }
  return {
    value: (number) => plain(number) + (unit ? ` ${unit}` : ""),
    change: (number) => signed(number, (size) => plain(size, three)),
    axis: (number) => plain(number),
    unit: scores === "logits" ? "logit, the score before it becomes a probability" : unit,
  };
}

export function plain(number: number, format = short): string {
  const size = Math.abs(number);
  return size !== 0 && (size < 1e-4 || size >= 1e7) ? number.toExponential(2).replace("-", "−") : format.format(number).replace("-", "−");
}

export function signed(number: number, format: (size: number) => string): string {
  const text = format(Math.abs(number));
  if (/^[0.]*$/.test(text)) return text;
  return (number < 0 ? "−" : "+") + text;
}

/** Of the output's own distance from the average, what the bars leave over. */
export function addsUp({ value, base_value, residual }: Explained, scale: Scale): string {
  const span = Math.abs(value - base_value);
  const share = span ? Math.abs(residual) / span : Math.abs(residual);
  if (share < 1e-4) return "yes: average and bars together are the prediction, to rounding";
  const rest = scale.change(residual);
  if (/^[0.]*$/.test(rest)) return "yes: what is left over is too small to write";
  return `all but ${rest} ${scale.unit}, ${percent.format(100 * share)} % of what was to explain`;
}

export function took(ms: number | undefined): string {
  if (ms === undefined) return "";
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} milliseconds` : `${short.format(ms / 1000)} seconds`;
}
