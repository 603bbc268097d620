/** Numbers as text. */
import type { OutputExplanation, ScaleName } from "./api/answer";
import type { Manifest } from "./model";
import { LOCALE, words } from "./texts";

// No separators of thousands: the form does not read them either.
const digits = (most: number) => new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: most, useGrouping: false });
const [short, three, long] = [digits(4), digits(3), digits(8)];
const percent = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });

/** Formats for a model's outputs: a value, a change of the value, a label of an axis. */
export interface Scale {
  value: (number: number) => string;
  change: (number: number) => string;
  axis: (number: number) => string;
  unit: string;
  /** The size below which an effect on this output counts as nothing: 0.05 points of a probability. */
  tiny: (explained: OutputExplanation) => number;
}

/** explained: the scale that an answer names, if it is not that of the outputs. */
export function scaleOf(model: Manifest, explained?: ScaleName): Scale {
  const { scores, unit = "" } = model.spec.output;
  if (explained === "log_odds" || explained === "log_ratio") return logScale(explained);
  if (scores === "probabilities") {
    return {
      value: share,
      change: (number) => withSign(number, (size) => percent.format(100 * size)),
      axis: (number) => `${minus(short.format(100 * number))} %`,
      unit: words.facts.points,
      tiny: () => 0.0005,
    };
  }
  const raw = scores === "logits";
  return {
    value: (number) => (raw ? words.prediction.raw(formatNumber(number)) : formatNumber(number) + (unit ? ` ${unit}` : "")),
    change: (number) => withSign(number, (size) => formatNumber(size, three)),
    axis: (number) => formatNumber(number),
    unit: raw ? words.facts.logit : unit,
    tiny: ({ value, base_value }) => 0.0005 * Math.max(Math.abs(value), Math.abs(base_value), 1e-12),
  };
}

function logScale(name: "log_odds" | "log_ratio"): Scale {
  return {
    value: (number) => words.scales.value[name](formatNumber(number)),
    change: (number) => withSign(number, (size) => formatNumber(size, three)),
    axis: (number) => formatNumber(number),
    unit: words.scales.unit[name],
    // At a probability of one half, this is a change of 0.05 points.
    tiny: () => 0.002,
  };
}

export function formatNumber(number: number, format = short): string {
  const size = Math.abs(number);
  return minus(size !== 0 && (size < 1e-4 || size >= 1e7) ? number.toExponential(2) : format.format(number));
}

/** A value that a person entered: all of its digits, but at most eight. */
export function formatValue(number: number): string {
  return formatNumber(number, long);
}

/** A hyphen as a true minus sign. */
export function minus(text: string): string {
  return text.replace(/(^|e)-/g, "$1−");
}

export function withSign(number: number, format: (size: number) => string): string {
  const text = format(Math.abs(number));
  if (/^[0.]*$/.test(text)) return text;
  return (number < 0 ? "−" : "+") + text;
}

/** A probability: 0.123 as 12.3 %. */
export function share(number: number): string {
  return `${minus(percent.format(100 * number))} %`;
}

/** A rough share: 0.123 as 12 %. */
export function roughShare(number: number): string {
  return `${100 * number < 10 ? short.format(Number((100 * number).toPrecision(2))) : whole.format(100 * number)} %`;
}

/** Whether the explanation adds up, in words. */
export function residualText({ value, base_value, residual }: OutputExplanation, scale: Scale): string {
  const [base, end] = [scale.value(base_value), scale.value(value)];
  const span = Math.abs(value - base_value);
  const part = span ? Math.abs(residual) / span : Math.abs(residual);
  if (part < 1e-4) return words.facts.addsUpYes(base, end);
  const rest = scale.change(residual);
  return /^[0.]*$/.test(rest) ? words.facts.addsUpSmall(base, end) : words.facts.addsUpNo(rest, scale.unit, roughShare(part));
}

export function durationText(ms: number | undefined): string {
  if (ms === undefined) return "";
  if (ms < 1000) return words.facts.ms(String(Math.max(1, Math.round(ms))));
  return ms < 120_000 ? words.facts.s(digits(2).format(ms / 1000)) : words.facts.min(digits(2).format(ms / 60_000));
}
