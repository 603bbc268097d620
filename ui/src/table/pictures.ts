/** Summaries of many rows: one dot per row and feature, or the mean |attribution| of each feature. */
import * as Plot from "@observablehq/plot";

import type { Field, TypedRow } from "../model";
import { toNumber } from "../numbers";
import { words } from "../texts";
import { barChart, wrapped } from "../why/bars";
import type { Scale } from "../format";
import { FONT_PX, measured, node, withoutStyles, stacked, type Canvas, type Svg } from "../why/draw";
import { contributions } from "../why/contributions";
import type { Reasons } from "./rows";

/** An explained row of a picture. */
export type Explained = Reasons & { typed: TypedRow };

const MAX_FEATURES = 12;
const SWARM_PX = 46;

interface Dot {
  value: number;
  /** The feature's value, scaled from 0, its minimum in these rows, to 1, its maximum. */
  level: number | null;
}

export interface Summary {
  key: string;
  title: string;
  mean: number;
}

/** The mean |attribution| of each feature, the largest first. */
export function meanSizes(fields: Field[], rows: Explained[]): Summary[] {
  const sums = new Map<string, number>();
  for (const { explained, typed } of rows) for (const { key, value } of contributions(fields, explained, typed)) sums.set(key, (sums.get(key) ?? 0) + Math.abs(value));
  const title = (key: string) => fields.find((field) => field.key === key && !field.group)?.title ?? key;
  return [...sums].map(([key, total]) => ({ key, title: title(key), mean: total / rows.length })).sort((one, other) => other.mean - one.mean);
}

export function bars(fields: Field[], rows: Explained[], scale: Scale, canvas: Canvas): Svg {
  const shown = meanSizes(fields, rows).slice(0, MAX_FEATURES);
  const listed = shown.map(({ title, mean }) => ({ label: title, bars: [{ from: 0, to: mean, colour: canvas.theme.down }], texts: [scale.change(mean).replace("+", "")] }));
  return barChart({ rows: listed, domain: [0, shown[0]?.mean || 1], origin: 0, axis: scale.axis, axisLabel: words.table.meanAxis(scale.unit) }, canvas);
}

export function swarm(fields: Field[], rows: Explained[], scale: Scale, { width, theme }: Canvas): Svg {
  const largest = meanSizes(fields, rows).slice(0, MAX_FEATURES);
  const shown = largest.map((one) => one.key);
  const marginLeft = Math.round(Math.min(200, 0.36 * width));
  const r = rows.length > 200 ? 1.8 : 3;
  const shares = rows.map(({ explained, typed }) => new Map(contributions(fields, explained, typed).map(({ key, value }) => [key, value])));
  const dots = spreadDots(shown.map((key) => dotsOf(fields.find((one) => one.key === key), rows.map(({ typed }) => typed[key] ?? ""), shares.map((of) => of.get(key) ?? 0))), (1.6 * r) / (width - marginLeft), (2 * r) / SWARM_PX);
  const colour = ({ level }: Dot) => (level === null ? theme.rest : mix(theme.low, theme.high, level));
  const plot = Plot.plot({
    width, height: SWARM_PX * shown.length + 46, marginLeft, marginRight: 16, marginTop: 4, marginBottom: 40,
    style: { fontSize: `${FONT_PX}px`, background: theme.paper, color: theme.ink },
    x: { label: null, tickFormat: scale.axis, inset: 8 },
    y: { domain: [-0.5, shown.length - 0.5], reverse: true, label: null },
    color: { type: "identity" },
    marks: [
      Plot.gridX({ stroke: theme.rule, ticks: 5 }),
      Plot.axisX({ ticks: 5, tickSize: 0, tickFormat: scale.axis, fill: theme.muted, label: words.table.axis(scale.unit), labelAnchor: "right", labelArrow: "none" }),
      Plot.axisY(shown.map((_, place) => place), { tickFormat: (place: number) => wrapped(largest[place]?.title ?? "", marginLeft - 16).join("\n"), tickSize: 0, fill: theme.ink }),
      Plot.ruleX([0], { stroke: theme.muted }),
      Plot.dot(dots, { x: "value", y: "place", r, fill: colour }),
    ],
  });
  const named = fields.filter((field) => field.kind === "category" && shown.includes(field.key));
  return stacked([withoutStyles(plot), legend({ width, theme }), ...named.map((field) => categoryLegend(field, { width, theme }))], { width, theme });
}

/** The largest share of a feature's height that its dots take. Many dots are closer together. */
const FILLED = 0.86;

/** Dots of similar value side by side, from the middle outwards. column: a share of the width; apart: of the height. */
function spreadDots(features: Dot[][], column: number, apart: number): (Dot & { place: number })[] {
  const values = features.flat().map((dot) => dot.value);
  const wide = column * (Math.max(...values) - Math.min(...values) || 1);
  return features.flatMap((dots, feature) => {
    const columns = new Map<number, Dot[]>();
    for (const dot of dots) {
      const at = Math.round(dot.value / wide);
      columns.set(at, [...(columns.get(at) ?? []), dot]);
    }
    const tallest = Math.max(...[...columns.values()].map((one) => one.length));
    const step = Math.min(apart, FILLED / tallest);
    return [...columns.values()].flatMap((one) => one.map((dot, nth) => ({ ...dot, place: feature + step * Math.ceil(nth / 2) * (nth % 2 ? 1 : -1) })));
  });
}

/** texts, shares: of each row, the value of the feature and its effect. */
function dotsOf(field: Field | undefined, texts: string[], shares: number[]): Dot[] {
  const levels = texts.map((text) => {
    if (field?.kind === "number") return toNumber(text);
    return field?.kind === "category" ? field.categories.indexOf(text) : null;
  });
  const numbers = levels.filter((one): one is number => typeof one === "number");
  const [low, high] = field?.kind === "category" ? [0, field.categories.length - 1] : [Math.min(...numbers), Math.max(...numbers)];
  return shares.map((value, place) => {
    const level = levels[place];
    return { value, level: typeof level === "number" && high > low ? (level - low) / (high - low) : null };
  });
}

function mix(from: string, to: string, share: number): string {
  const parts = [1, 3, 5].map((at) => {
    const [one, other] = [from, to].map((hex) => Number.parseInt(hex.slice(at, at + 2), 16)) as [number, number];
    return Math.round(one + share * (other - one)).toString(16).padStart(2, "0");
  });
  return `#${parts.join("")}`;
}

/** The names of a feature's categories in the colours of its dots. */
function categoryLegend({ title, categories }: Field, { width, theme }: Canvas): Svg {
  const svg = node("svg", { width, "font-size": FONT_PX, fill: theme.ink }) as Svg;
  let [x, y] = [6, 14];
  const write = (text: string, colour?: string) => {
    const wide = measured(text, FONT_PX) + (colour ? 26 : 12);
    if (x + wide > width && x > 6) [x, y] = [6, y + 18];
    if (colour) svg.append(node("circle", { cx: x + 5, cy: y - 4, r: 4.5, fill: colour }));
    svg.append(node("text", { x: x + (colour ? 14 : 0), y }, text));
    x += wide;
  };
  write(`${title}:`);
  categories.forEach((category, place) => write(category, mix(theme.low, theme.high, categories.length > 1 ? place / (categories.length - 1) : 1)));
  svg.setAttribute("height", String(y + 8));
  return svg;
}

function legend({ width, theme }: Canvas): Svg {
  const steps = Array.from({ length: 24 }, (_, step) => step);
  const left = Math.max(6, width - 300);
  return withoutStyles(
    Plot.plot({
      width, height: 26, margin: 0,
      x: { type: "identity", axis: null }, y: { type: "identity", axis: null }, color: { type: "identity" },
      style: { fontSize: `${FONT_PX}px`, background: theme.paper, color: theme.ink },
      marks: [
        Plot.rect(steps, { x1: (step: number) => left + 82 + 5 * step, x2: (step: number) => left + 87.5 + 5 * step, y1: 7, y2: 19, fill: (step: number) => mix(theme.low, theme.high, step / 23) }),
        Plot.text([{ x: left + 76, anchor: "end", label: words.table.low }], { x: "x", y: 13, text: "label", textAnchor: "end", fill: theme.ink }),
        Plot.text([{ x: left + 210, label: words.table.high }], { x: "x", y: 13, text: "label", textAnchor: "start", fill: theme.ink }),
      ],
    }),
  );
}
