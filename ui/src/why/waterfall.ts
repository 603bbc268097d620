/** A waterfall chart from the base value to the prediction, with the largest contribution first. */
import type { OutputExplanation } from "../api/answer";
import type { Scale } from "../format";
import { words } from "../texts";
import { barChart, domainOf, type BarRow } from "./bars";
import type { Contribution } from "./contributions";
import type { Canvas, Svg } from "./draw";
import { topContributions } from "./reasons";

const MAX_BARS = 9;
/** A residual below this share of the explained difference is rounding and gets no bar. */
const VISIBLE = 0.005;

export interface Waterfall {
  explained: OutputExplanation;
  elements: Contribution[];
  scale: Scale;
}

export function waterfall({ explained, elements, scale }: Waterfall, canvas: Canvas): Svg {
  const { theme } = canvas;
  const { base_value: base, value: end, residual } = explained;
  const { shown, rest } = topContributions(elements, MAX_BARS);
  const listed = [...shown, ...(rest ? [rest] : [])];
  if (Math.abs(residual) > VISIBLE * Math.abs(end - base)) listed.push({ key: "", label: words.why.unexplained, value: residual });
  let at = base;
  const bars = listed.map(({ label, value, error }): BarRow => {
    const from = at;
    at += value;
    const colour = label === words.why.unexplained ? theme.rest : value < 0 ? theme.down : theme.up;
    return { label, bars: [{ from, to: at, colour }], texts: [scale.change(value)], error: error ? [at - 2 * error, at + 2 * error] : undefined };
  });
  const rows: BarRow[] = [
    { label: words.why.averageBar, bars: [], texts: [scale.value(base)], dot: base },
    ...bars,
    { label: words.why.predictionBar(explained.output), bars: [], texts: [scale.value(end)], dot: end },
  ];
  const ends = [base, end, ...bars.flatMap((row) => row.bars.flatMap((bar) => [bar.from, bar.to]))];
  return barChart({ rows, domain: domainOf(ends, scale.tiny(explained)), origin: base, axis: scale.axis, axisLabel: scale.unit }, canvas);
}
