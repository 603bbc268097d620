/**
 * A series: a line per channel, and below it the attribution of each step or window. Players are shaded under the curve.
 * Without players, several channels have a heatmap as well.
 */
import * as Plot from "@observablehq/plot";

import { flat, sum, type Nested } from "../api/answer";
import type { Scale } from "../format";
import { words } from "../texts";
import { FONT_PX, node, withoutStyles, stacked, type Canvas, type Svg } from "./draw";
import { colourScale } from "./heat";
import { barsOf, stepBars, type Span } from "./players";

export interface Series {
  name: string;
  /** The numbers of each step: one, or one per channel. */
  values: Nested[];
  /** The players, if they are not the elements. */
  spans?: Span[];
  /** Of each step, if the elements are the players. */
  attribution: Nested[];
  errors?: Nested[];
  /** The names of the steps; without names they are counted. */
  stepNames?: string[];
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
  const shade = ({ value }: Span) => (value < 0 ? theme.down : theme.up);
  const strength = ({ value }: Span) => strengthOf(Math.abs(value) / given.most);
  const line = (of: Nested[], channel: number) => of.map((step, place) => ({ place, value: flat(step)[channel] ?? 0 }));
  const lines = Array.from({ length: Math.min(channels, MAX_LINES) }, (_, channel) => {
    const own = given.spans?.filter((span) => span.channel === channel || span.channel === null) ?? [];
    const name = channelName(given, channel, channels);
    return Plot.plot({
      ...common,
      height: channels > 1 ? 84 : 170,
      marginTop: 24,
      marginBottom: 8,
      x: { ...x, axis: null },
      y: { nice: true, label: name },
      marks: [
        Plot.rect(own, { x1: ({ start }: Span) => start - 0.5, x2: ({ end }: Span) => end - 0.5, fill: shade, fillOpacity: strength, stroke: theme.rule, className: "window" }),
        Plot.gridY({ stroke: theme.rule, ticks: 3 }),
        Plot.axisY({ ...axis, ticks: channels > 1 ? 2 : 4, label: name, labelAnchor: "top" }),
        given.before ? Plot.lineY(line(given.before, channel), { x: "place", y: "value", stroke: theme.rest, strokeDasharray: "4 3" }) : null,
        Plot.lineY(line(given.values, channel), { x: "place", y: "value", stroke: theme.ink, strokeWidth: 1.8 }),
        given.values.length <= 60 ? Plot.dot(line(given.values, channel), { x: "place", y: "value", r: 2.2, fill: theme.ink }) : null,
      ],
    });
  });
  const { scale, spans } = given;
  const bars = spans ? barsOf(spans) : stepBars(given.attribution, given.errors);
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
      Plot.axisX({ ...axis, label: words.series.step, labelAnchor: "right", tickFormat: (place: number) => (Number.isInteger(place) ? (given.stepNames?.[place] ?? String(place)) : "") }),
      Plot.rectY(bars, { x1: ({ first }) => first - 0.36, x2: ({ last }) => last + 0.36, y: "share", fill: ({ share }) => (share < 0 ? theme.down : theme.up) }),
      Plot.ruleX(bars.filter(({ error }) => error), { x: ({ first, last }) => (first + last) / 2, y1: ({ share, error }) => share - 2 * error, y2: ({ share, error }) => share + 2 * error, stroke: theme.ink }),
      Plot.ruleY([0], { stroke: theme.ink }),
    ],
  });
  // Players that are channels have one bar in all, which would say nothing.
  const parts = [...lines.map(withoutStyles), ...(bars.length > 1 ? [withoutStyles(bottom)] : [])];
  if (channels > 1 && !spans) parts.push(heatmap(given, channels, canvas));
  if (channels > 1 || spans) parts.push(colourScale(Math.min(width, 360), theme, given.most, scale, spans && strengthOf));
  return stacked(parts, canvas);
}

/** The strongest shade under a curve that stays visible. */
const strengthOf = (part: number) => 0.6 * Math.min(1, part);

/** The name of a channel, and its attribution if it is one player. */
function channelName({ name, spans, scale }: Series, channel: number, channels: number): string {
  const own = spans?.filter((span) => span.channel === channel) ?? [];
  const shown = own[0]?.name ?? (channels > 1 ? words.series.channel(channel) : name);
  return own.length ? words.series.channelShare(shown, scale.change(sum(own.map(({ value }) => value)))) : shown;
}

/** One cell per channel and step, coloured by its attribution. */
function heatmap({ attribution, most }: Series, channels: number, { width, theme }: Canvas): Svg {
  const svg = node("svg", { width, height: channels * CELL_PX + 8, "font-size": FONT_PX, fill: theme.ink }) as Svg;
  const cell = (width - LEFT_PX - 12) / attribution.length;
  for (let channel = 0; channel < channels; channel++) {
    svg.append(node("text", { x: LEFT_PX - 6, y: channel * CELL_PX + 14, "text-anchor": "end", fill: theme.muted }, words.series.channel(channel)));
    attribution.forEach((step, place) => {
      const share = flat(step)[channel] ?? 0;
      const fill = { fill: share < 0 ? theme.down : theme.up, "fill-opacity": Math.min(1, Math.abs(share) / most) };
      svg.append(node("rect", { x: LEFT_PX + place * cell, y: channel * CELL_PX + 1, width: cell, height: CELL_PX - 1, ...fill }));
    });
  }
  return svg;
}
