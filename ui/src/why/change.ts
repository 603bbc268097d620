/** What changed: for each feature a pale bar for the start row and a full bar for the current row. */
import { sum, type OutputExplanation } from "../api/answer";
import type { Scale } from "../format";
import { words } from "../texts";
import { barChart, domainOf, type BarRow } from "./bars";
import type { Contribution } from "./contributions";
import type { Canvas, Svg } from "./draw";

const MAX_ROWS = 9;

export interface Change {
  label: string;
  before: number;
  now: number;
}

/** The effects of both rows by feature, the largest change first. The rest is one entry. */
export function changes(before: Contribution[], now: Contribution[]): Change[] {
  const keys = [...new Set([...now, ...before].map((one) => one.key))];
  const total = (of: Contribution[], key: string) => sum(of.filter((one) => one.key === key).map((one) => one.value));
  const label = (key: string) => now.find((one) => one.key === key)?.label ?? before.find((one) => one.key === key)?.label ?? key;
  const all = keys.map((key) => ({ label: label(key), before: total(before, key), now: total(now, key) }));
  const sorted = all.sort((one, other) => Math.abs(other.now - other.before) - Math.abs(one.now - one.before));
  if (sorted.length <= MAX_ROWS + 1) return sorted;
  const rest = sorted.slice(MAX_ROWS);
  return [...sorted.slice(0, MAX_ROWS), { label: words.why.others(rest.length), before: sum(rest.map((one) => one.before)), now: sum(rest.map((one) => one.now)) }];
}

export function changeChart(list: Change[], explained: OutputExplanation, scale: Scale, canvas: Canvas): Svg {
  const { theme } = canvas;
  const colour = (value: number) => (value < 0 ? theme.down : theme.up);
  const rows = list.map(({ label, before, now }): BarRow => ({
    label,
    bars: [
      { from: 0, to: before, colour: colour(before), pale: true },
      { from: 0, to: now, colour: colour(now) },
    ],
    texts: [scale.change(before), scale.change(now), scale.change(now - before)],
  }));
  const ends = [0, ...list.flatMap((one) => [one.before, one.now])];
  const columns = [words.why.before, words.why.now, words.why.changedBy];
  return barChart({ rows, domain: domainOf(ends, scale.tiny(explained)), origin: 0, axis: scale.change, axisLabel: scale.unit, columns }, canvas);
}
