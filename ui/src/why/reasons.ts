/** The reasons to name in a sentence: the largest attributions until they cover 60 % of all effects, at most four. */
import { sum } from "../api/answer";
import { words } from "../texts";
import type { Contribution } from "./contributions";

const COVERED = 0.6;
const MOST = 4;
/** If the largest effect is a smaller part of all effects, no reason stands out. */
const STANDS_OUT = 0.1;

export interface Reasons {
  kind: "listed" | "none stands out" | "nothing moves";
  up: Contribution[];
  down: Contribution[];
  /** The part of Σ|attribution| that the listed reasons cover, from 0 to 1. */
  share: number;
}

/** tiny: the size below which an effect counts as nothing. */
export function reasonsOf(all: Contribution[], tiny: number): Reasons {
  const sorted = bySize(all);
  const total = totalSize(sorted);
  const listed: Contribution[] = [];
  let covered = 0;
  for (const one of sorted) {
    if (listed.length === MOST || covered >= COVERED * total || one.value === 0) break;
    listed.push(one);
    covered += Math.abs(one.value);
  }
  const largest = Math.abs(sorted[0]?.value ?? 0);
  const kind = largest < tiny ? "nothing moves" : largest < STANDS_OUT * total ? "none stands out" : "listed";
  return { kind, up: listed.filter((one) => one.value > 0), down: listed.filter((one) => one.value < 0), share: total ? covered / total : 0 };
}

/** Σ|attribution| over all players. */
export function totalSize(all: Contribution[]): number {
  return sum(all.map((one) => one.size ?? Math.abs(one.value)));
}

export function bySize(all: Contribution[]): Contribution[] {
  return [...all].sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
}

/** The largest contributions, and the sum of the others. */
export function topContributions(all: Contribution[], most: number): { shown: Contribution[]; rest: Contribution | null } {
  const sorted = bySize(all);
  if (sorted.length <= most + 1) return { shown: sorted, rest: null };
  const [shown, others] = [sorted.slice(0, most), sorted.slice(most)];
  return { shown, rest: { key: "", label: words.why.others(others.length), value: sum(others.map((one) => one.value)) } };
}
