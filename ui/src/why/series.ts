/** A series: a line per channel, and below it the attribution of each step. Several channels have a heatmap as well. */
import * as Plot from "@observablehq/plot";

import { flat, sum, type Nested } from "../api/answer";
import type { Scale } from "../format";
import { words } from "../texts";
import { FONT_PX, node, withoutStyles, stacked, type Canvas, type Svg } from "./draw";
import { colourScale } from "./heat";

export interface Series {
  name: string;
  /** The numbers of each step: one, or one per channel. */
  values: Nested[];
  attribution: Nested[];
  errors?: Nested[];
  scale: Scale;
  /** The attribution with the strongest colour in the heatmap. */
  most: number;
  /** The series of the start row, if it differs. */
  before?: Nested[];
}

const LEFT_PX = 72;
/** More lines than this are not drawn; the heatmap has all channels. */
const MAX_LINES = 12;
const CELL_PX = 18;

export function series(given: Series, canvas: Canvas): Svg {
  const { width, theme } = canvas;
  const channels = Math.max(...given.values.map((step) => flat(step).length));
  const common = { width, marginLeft: LEFT_PX, marginRight: 12, style: { fontSize: `${FONT_PX}px`, background: theme.paper, color: theme.ink }, color: { type: "identity" as const } };
  const x = { domain: [-0.6, given.values.length - 0.4], type: "linear" as const };
  const axis = { fill: theme.muted, tickSize: 0, labelArrow: "none" as const };
  const line = (of: Nested[], channel: number) => of.map((step, place) => ({ place, value: flat(step)[channel] ?? 0 }));
  const lines = Array.from({ length: Math.min(channels, MAX_LINES) }, (_, channel) => {
    const name = channels > 1 ? words.series.channel(channel + 1) : given.name;
    return Plot.plot({
      ...common,
      height: channels > 1 ? 84 : 170,
      marginTop: 24,
      marginBottom: 8,
      x: { ...x, axis: null },
      y: { nice: true, label: name },
      marks: [
        Plot.gridY({ stroke: theme.rule, ticks: 3 }),
        Plot.axisY({ ...axis, ticks: channels > 1 ? 2 : 4, label: name, labelAnchor: "top" }),
        given.before ? Plot.lineY(line(given.before, channel), { x: "place", y: "value", stroke: theme.rest, strokeDasharray: "4 3" }) : null,
        Plot.lineY(line(given.values, channel), { x: "place", y: "value", stroke: theme.ink, strokeWidth: 1.8 }),
        given.values.length <= 60 ? Plot.dot(line(given.values, channel), { x: "place", y: "value", r: 2.2, fill: theme.ink }) : null,
      ],
    });
  });
  const { scale } = given;
  const bars = given.attribution.map((share, place) => {
    const error = given.errors?.[place];
    return { place, share: sum(flat(share)), error: typeof error === "number" ? error : 0 };
  });
  const bottom = Plot.plot({
    ...common,
    height: 190,
    marginTop: 26,
    marginBottom: 34,
    x,
    y: { nice: true, tickFormat: scale.change },
    marks: [
      Plot.gridY({ stroke: theme.rule, ticks: 4 }),
      Plot.axisY({ ...axis, ticks: 4, tickFormat: scale.change, label: words.why.effect(scale.unit), labelAnchor: "top" }),
      Plot.axisX({ ...axis, label: words.series.step, labelAnchor: "right", tickFormat: (place: number) => (Number.isInteger(place) ? String(place) : "") }),
      Plot.rectY(bars, { x1: ({ place }) => place - 0.36, x2: ({ place }) => place + 0.36, y: "share", fill: ({ share }) => (share < 0 ? theme.down : theme.up) }),
      Plot.ruleX(bars.filter(({ error }) => error), { x: "place", y1: ({ share, error }) => share - 2 * error, y2: ({ share, error }) => share + 2 * error, stroke: theme.ink }),
      Plot.ruleY([0], { stroke: theme.ink }),
    ],
  });
  const parts = [...lines.map(withoutStyles), withoutStyles(bottom)];
  if (channels > 1) parts.push(heatmap(given, channels, canvas), colourScale(Math.min(width, 360), theme, given.most, scale));
  return stacked(parts, canvas);
}

/** One cell per channel and step, coloured by its attribution. */
function heatmap({ attribution, most }: Series, channels: number, { width, theme }: Canvas): Svg {
  const svg = node("svg", { width, height: channels * CELL_PX + 8, "font-size": FONT_PX, fill: theme.ink }) as Svg;
  const cell = (width - LEFT_PX - 12) / attribution.length;
  for (let channel = 0; channel < channels; channel++) {
    svg.append(node("text", { x: LEFT_PX - 6, y: channel * CELL_PX + 14, "text-anchor": "end", fill: theme.muted }, words.series.channel(channel + 1)));
    attribution.forEach((step, place) => {
      const share = flat(step)[channel] ?? 0;
      const fill = { fill: share < 0 ? theme.down : theme.up, "fill-opacity": Math.min(1, Math.abs(share) / most) };
      svg.append(node("rect", { x: LEFT_PX + place * cell, y: channel * CELL_PX + 1, width: cell, height: CELL_PX - 1, ...fill }));
    });
  }
  return svg;
}
