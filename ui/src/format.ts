/** Numbers as text. */
import type { OutputExplanation } from "./api/answer";
import type { Manifest } from "./model";

const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

/** Formats for a model's outputs: a value, a change of the value, a label of an axis. */
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
      change: (number) => withSign(number, (size) => percent.format(100 * size)),
      axis: (number) => `${short.format(100 * number)} %`,
      unit: "percentage points",
    };
  }
  return {
    value: (number) => formatNumber(number) + (unit ? ` ${unit}` : ""),
    change: (number) => withSign(number, (size) => formatNumber(size, three)),
    axis: (number) => formatNumber(number),
    unit: scores === "logits" ? "logit, the score before it becomes a probability" : unit,
  };
}

export function formatNumber(number: number, format = short): string {
  const size = Math.abs(number);
  return size !== 0 && (size < 1e-4 || size >= 1e7) ? number.toExponential(2).replace("-", "−") : format.format(number).replace("-", "−");
}

export function withSign(number: number, format: (size: number) => string): string {
  const text = format(Math.abs(number));
  if (/^[0.]*$/.test(text)) return text;
  return (number < 0 ? "−" : "+") + text;
}

/** The residual, as a share of the distance between the output and the base value. */
export function residualText({ value, base_value, residual }: OutputExplanation, scale: Scale): string {
  const span = Math.abs(value - base_value);
  const share = span ? Math.abs(residual) / span : Math.abs(residual);
  if (share < 1e-4) return "yes: average and bars together are the prediction, to rounding";
  const rest = scale.change(residual);
  if (/^[0.]*$/.test(rest)) return "yes: what is left over is too small to write";
  return `all but ${rest} ${scale.unit}, ${percent.format(100 * share)} % of what was to explain`;
}

export function durationText(ms: number | undefined): string {
  if (ms === undefined) return "";
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} milliseconds` : `${short.format(ms / 1000)} seconds`;
}
