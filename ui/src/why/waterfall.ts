/** A waterfall chart from the base value to the prediction, with the largest contribution first. */
import * as Plot from "@observablehq/plot";

import type { OutputExplanation } from "../api/answer";
import type { Scale } from "../format";
import { FONT_PX, withoutStyles, type Canvas, type Svg } from "./draw";
import { topContributions, type Contribution } from "./contributions";

const MAX_BARS = 9;
const ROW_PX = 27;
/** A residual below this share of the explained difference is rounding and gets no bar. */
const VISIBLE = 0.005;

export interface Waterfall {
  explained: OutputExplanation;
  elements: Contribution[];
  scale: Scale;
  /** The ends of the axis; two pictures to compare have the same ones. */
  domain?: [number, number];
}

interface Step {
  label: string;
  from: number;
  to: number;
  kind: "up" | "down" | "rest";
  error?: number;
}

export function steps({ explained, elements }: Waterfall): Step[] {
  const { shown, rest } = topContributions(elements, MAX_BARS);
  const listed = [...shown, ...(rest ? [rest] : [])];
  if (Math.abs(explained.residual) > VISIBLE * Math.abs(explained.value - explained.base_value)) {
    listed.push({ key: "", label: "left unexplained", value: explained.residual });
  }
  let at = explained.base_value;
  return listed.map(({ label, value, error }) => {
    const from = at;
    at += value;
    const kind = label === "left unexplained" ? "rest" : value < 0 ? "down" : "up";
    return { label, from, to: at, kind, error };
  });
}

/** The smallest and the largest end of the bars. */
export function extent(waterfall: Waterfall): [number, number] {
  const ends = steps(waterfall).flatMap((step) => [step.from, step.to]);
  const all = [...ends, waterfall.explained.base_value, waterfall.explained.value];
  return [Math.min(...all), Math.max(...all)];
}

export function waterfall(given: Waterfall, { width, theme }: Canvas): Svg {
  const { explained, scale } = given;
  const all = steps(given);
  const [average, prediction] = ["average", `prediction: ${explained.output}`];
  const [low, high] = given.domain ?? extent(given);
  const pad = (high - low || Math.abs(high) || 1) * (width < 480 ? 0.24 : 0.14);
  const marginLeft = Math.round(Math.min(230, 0.4 * width));
  const changeText = (step: Step) => scale.change(step.to - step.from);
  const text = (right: boolean) =>
    Plot.text(all.filter((step) => step.to >= step.from === right), {
      x: "to", y: "label", text: changeText, dx: right ? 5 : -5, textAnchor: right ? "start" : "end", fill: theme.ink, stroke: theme.paper, strokeWidth: 4,
    });
  // The text is beside its dot, on the side that has room.
  const end = (right: boolean) =>
    Plot.text(ends.filter(({ at }) => (at - low <= 0.6 * (high - low)) === right), {
      x: "at", y: "label", text: ({ at }: { at: number }) => scale.value(at), dx: right ? 9 : -9, textAnchor: right ? "start" : "end", fontWeight: "bold", fill: theme.ink, stroke: theme.paper, strokeWidth: 4,
    });
  const ends = [
    { label: average, at: explained.base_value },
    { label: prediction, at: explained.value },
  ];
  return withoutStyles(
    Plot.plot({
      width,
      height: ROW_PX * (all.length + 2) + 46,
      marginLeft,
      marginRight: 12,
      marginTop: 4,
      marginBottom: 40,
      style: { fontSize: `${FONT_PX}px`, background: theme.paper, color: theme.ink },
      x: { domain: [low - pad, high + pad], tickFormat: scale.axis, ticks: width < 480 ? 3 : 5, label: null, nice: false },
      y: { domain: [average, ...all.map((step) => step.label), prediction], label: null, padding: 0.28 },
      marks: [
        Plot.gridX({ stroke: theme.rule, strokeOpacity: 0.6, ticks: width < 480 ? 3 : 5 }),
        Plot.axisY({ lineWidth: (marginLeft - 12) / FONT_PX, textOverflow: "ellipsis", tickSize: 0, fill: theme.ink }),
        Plot.axisX({ tickSize: 0, tickFormat: scale.axis, ticks: width < 480 ? 3 : 5, fill: theme.muted, label: scale.unit || null, labelAnchor: "right", labelArrow: "none" }),
        Plot.ruleX([explained.base_value], { stroke: theme.muted, strokeDasharray: "3 3" }),
        Plot.barX(all, { x1: "from", x2: "to", y: "label", fill: (step: Step) => theme[step.kind], rx: 1.5 }),
        Plot.ruleY(all.filter((step) => step.error), {
          x1: (step: Step) => step.to - 2 * (step.error ?? 0), x2: (step: Step) => step.to + 2 * (step.error ?? 0), y: "label", stroke: theme.ink, strokeWidth: 1.2,
        }),
        text(true),
        text(false),
        Plot.dot(ends, { x: "at", y: "label", r: 4.5, fill: theme.ink }),
        end(true),
        end(false),
      ],
      color: { type: "identity" },
    }),
  );
}
