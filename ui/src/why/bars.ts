/** A bar chart with one row per feature. Labels are wrapped and never cut; the numbers have columns of their own. */
import { sum } from "../api/answer";
import { FONT, FONT_PX, measured, node, sized, type Canvas, type Svg } from "./draw";

export interface BarRow {
  label: string;
  bars: { from: number; to: number; colour: string; pale?: boolean }[];
  /** One text per column. */
  texts: string[];
  /** The ends of a line over the bar: two standard errors to either side. */
  error?: [number, number];
  /** A dot instead of a bar: the average or the prediction. */
  dot?: number;
}

export interface BarChart {
  rows: BarRow[];
  domain: [number, number];
  /** The value of the vertical line. */
  origin: number;
  axis: (value: number) => string;
  axisLabel: string;
  /** The headings of the columns of numbers. */
  columns?: string[];
}

const LINE_PX = 16;
const BAR_PX = 19;
const GAP_PX = 9;
const TOP_PX = 20;
const FOOT_PX = 44;
const BLANK_PX = 12;
/** Below this width a label is above its bar, and only the last column of numbers is beside it. */
const NARROW_PX = 520;

export function barChart({ rows, domain, origin, axis, axisLabel, columns = [""] }: BarChart, { width, theme }: Canvas): Svg {
  const narrow = width < NARROW_PX;
  const shown = narrow ? columns.length - 1 : 0;
  const columnPx = columns.map((name, at) => Math.max(measured(name, FONT_PX), ...rows.map((row) => measured(row.texts[at] ?? "", FONT_PX, true))) + BLANK_PX);
  const right = sum(columnPx.slice(shown));
  const labelPx = narrow ? width - 4 : Math.min(0.36 * width, Math.max(...rows.map((row) => measured(row.label, FONT_PX, true))) + 4);
  const [left, end] = [narrow ? 4 : labelPx + BLANK_PX, width - right - 4];
  const [low, high] = domain;
  const x = (value: number) => left + ((value - low) / (high - low || 1)) * (end - left);
  const svg = node("svg", { "font-family": FONT, "font-size": FONT_PX, fill: theme.ink }) as Svg;
  const marks = node("g", {});
  let top = columns.some(Boolean) ? TOP_PX : 4;
  const head = top;
  const columnEnd = (at: number) => width - 4 - sum(columnPx.slice(at + 1));
  for (const row of rows) {
    const extra = narrow ? row.texts.slice(0, -1).filter(Boolean).join(" → ") : "";
    const lines = [...wrapped(row.label, labelPx), ...(extra ? wrapped(extra, labelPx) : [])];
    const height = narrow ? lines.length * LINE_PX + BAR_PX + GAP_PX : Math.max(lines.length * LINE_PX, BAR_PX) + GAP_PX;
    const middle = narrow ? top + lines.length * LINE_PX + BAR_PX / 2 : top + (height - GAP_PX) / 2;
    const firstLine = narrow ? top + 12 : middle - ((lines.length - 1) * LINE_PX) / 2 + 4.5;
    const bold = row.dot === undefined ? {} : { "font-weight": "bold" };
    lines.forEach((line, at) => marks.append(node("text", { ...bold, x: narrow ? 4 : labelPx, y: firstLine + at * LINE_PX, "text-anchor": narrow ? "start" : "end" }, line)));
    row.bars.forEach(({ from, to, colour, pale }, at) => {
      const size = BAR_PX / row.bars.length;
      const bar = { x: Math.min(x(from), x(to)), y: middle - BAR_PX / 2 + at * size, width: Math.max(1, Math.abs(x(to) - x(from))), height: size - (row.bars.length > 1 ? 1 : 0), rx: 1.5 };
      marks.append(node("rect", { ...bar, fill: colour, "fill-opacity": pale ? 0.4 : 1 }));
    });
    if (row.error) marks.append(node("line", { x1: clamp(x(row.error[0]), left, end), x2: clamp(x(row.error[1]), left, end), y1: middle, y2: middle, stroke: theme.ink, "stroke-width": 1.2 }));
    if (row.dot !== undefined) marks.append(node("circle", { cx: x(row.dot), cy: middle, r: 4.5 }));
    row.texts.forEach((text, at) => at >= shown && marks.append(node("text", { ...bold, x: columnEnd(at), y: middle + 4.5, "text-anchor": "end" }, text)));
    top += height;
  }
  svg.append(grid());
  svg.append(marks);
  return sized(svg, width, top + FOOT_PX);

  function grid(): SVGElement {
    const group = node("g", {});
    columns.forEach((name, at) => name && at >= shown && group.append(node("text", { x: columnEnd(at), y: 12, "text-anchor": "end", fill: theme.muted }, name)));
    for (const tick of ticks(low, high, Math.max(2, Math.floor((end - left) / 90)))) {
      group.append(node("line", { x1: x(tick), x2: x(tick), y1: head, y2: top, stroke: theme.rule, "stroke-opacity": 0.6 }));
      const text = axis(tick);
      const half = measured(text, FONT_PX) / 2;
      group.append(node("text", { x: clamp(x(tick), half + 2, width - half - 2), y: top + 15, "text-anchor": "middle", fill: theme.muted }, text));
    }
    const at = x(clamp(origin, low, high));
    group.append(node("line", { x1: at, x2: at, y1: head, y2: top, stroke: theme.muted, "stroke-dasharray": "3 3" }));
    group.append(node("text", { x: clamp((left + end) / 2, measured(axisLabel, FONT_PX) / 2 + 2, width), y: top + 33, "text-anchor": "middle", fill: theme.muted }, axisLabel));
    return group;
  }
}

/** The axis for these ends of bars. Effects that count as nothing must not fill the whole width. */
export function domainOf(ends: number[], tiny: number): [number, number] {
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const pad = Math.max(0.03 * (high - low), 20 * tiny - (high - low) / 2, 1e-12);
  return [low - pad, high + pad];
}

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

/** The lines of a text that is broken at blanks, or inside a word that is wider than a line. */
export function wrapped(text: string, px: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/(?<=[\s/_-])/)) {
    if (line && measured((line + word).trimEnd(), FONT_PX, true) > px) [line] = ["", lines.push(line.trimEnd())] as [string, number];
    for (const letter of word) {
      if (measured((line + letter).trimEnd(), FONT_PX, true) > px && line) [line] = ["", lines.push(line)] as [string, number];
      line += letter;
    }
  }
  return [...lines, line.trimEnd()];
}

/** Round numbers from low to high, about `count` of them. */
function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((one) => one * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}
