/** A series as a line, and below it a bar with the attribution of each step. */
import * as Plot from "@observablehq/plot";

import { flat, sum, type Nested } from "../api/answer";
import type { Scale } from "../format";
import { FONT_PX, withoutStyles, stacked, type Canvas, type Svg } from "./draw";

export interface Series {
  name: string;
  /** The numbers of each step. */
  values: Nested[];
  attribution: Nested[];
  errors?: Nested[];
  scale: Scale;
  /** The series of the start row, if it differs. */
  before?: Nested[];
}

const LINES = ["ink", "rest", "muted"] as const;
/** More lines than this cannot be told apart. */
const MAX_LINES = 3;

export function series({ name, values, attribution, errors, scale, before }: Series, { width, theme }: Canvas): Svg {
  const common = {
    width,
    marginLeft: 56,
    marginRight: 12,
    style: { fontSize: `${FONT_PX}px`, background: theme.paper, color: theme.ink },
  };
  const x = { domain: [-0.6, values.length - 0.4] };
  const axis = { fill: theme.muted, tickSize: 0, labelArrow: "none" as const };
  const lines = (of: Nested[]) => of.flatMap((step, place) => flat(step).slice(0, MAX_LINES).map((value, line) => ({ place, value, line })));
  const bars = attribution.map((share, place) => {
    const error = errors?.[place];
    return { place, share: sum(flat(share)), error: typeof error === "number" ? error : 0 };
  });
  const top = Plot.plot({
    ...common,
    height: 170,
    marginTop: 24,
    marginBottom: 8,
    x: { ...x, axis: null },
    y: { nice: true, label: name },
    marks: [
      Plot.gridY({ stroke: theme.rule, ticks: 4 }),
      Plot.axisY({ ...axis, ticks: 4, label: name, labelAnchor: "top" }),
      before ? Plot.lineY(lines(before), { x: "place", y: "value", z: "line", stroke: theme.rest, strokeDasharray: "4 3" }) : null,
      Plot.lineY(lines(values), { x: "place", y: "value", z: "line", stroke: ({ line }: { line: number }) => theme[LINES[line] ?? "muted"], strokeWidth: 1.8 }),
      Plot.dot(lines(values), { x: "place", y: "value", r: 2.4, fill: theme.ink }),
    ],
    color: { type: "identity" },
  });
  const bottom = Plot.plot({
    ...common,
    height: 190,
    marginTop: 26,
    marginBottom: 34,
    x: { ...x, type: "linear" },
    y: { nice: true, tickFormat: scale.change },
    marks: [
      Plot.gridY({ stroke: theme.rule, ticks: 4 }),
      Plot.axisY({ ...axis, ticks: 4, tickFormat: scale.change, label: `adds or takes away${scale.unit ? `, ${scale.unit}` : ""}`, labelAnchor: "top" }),
      Plot.axisX({ ...axis, label: "step, counted from 0", labelAnchor: "right", tickFormat: (place: number) => (Number.isInteger(place) ? String(place) : "") }),
      Plot.rectY(bars, { x1: ({ place }) => place - 0.36, x2: ({ place }) => place + 0.36, y: "share", fill: ({ share }) => (share < 0 ? theme.down : theme.up) }),
      Plot.ruleX(bars.filter(({ error }) => error), { x: "place", y1: ({ share, error }) => share - 2 * error, y2: ({ share, error }) => share + 2 * error, stroke: theme.ink }),
      Plot.ruleY([0], { stroke: theme.ink }),
    ],
    color: { type: "identity" },
  });
  return stacked([withoutStyles(top), withoutStyles(bottom)], { width, theme });
}
