/** The explanation in sentences: the average, the reasons for and against, and what a change did. */
import { isPlayers, numbersOf, sum, type Answer, type Attribution, type OutputExplanation } from "../api/answer";
import type { RowExplanation } from "../answers";
import { roughShare, type Scale } from "../format";
import { heading, type Field, type Manifest } from "../model";
import { words } from "../texts";
import { contributions, valueText, type Contribution } from "./contributions";
import { regionOf, strongestRegion } from "./heat";
import { samePlace, type PixelShares } from "./players";
import { bySize, reasonsOf, totalSize } from "./reasons";

/** Bars that are farther from exact values than this share of their mean size are called rough. */
const ROUGH = 0.1;

export interface Reasoned {
  average: string;
  /** The sentences about single reasons. */
  reasons: string[];
}

export function reasoned(fields: Field[], why: RowExplanation, explained: OutputExplanation, scale: Scale): Reasoned {
  const { rows, absent } = why.answer.background;
  const [base, value] = [scale.value(explained.base_value), scale.value(explained.value)];
  const average = absent ? words.why.reference(base, explainedName(why, explained), value) : words.why.average(rows, base, explainedName(why, explained), value);
  // A picture has no named parts: the sentence about its strongest region is beside it.
  if (fields.every((field) => field.kind === "image")) return { average, reasons: [] };
  const all = contributions(fields, explained, why.row, true);
  const found = reasonsOf(all, scale.tiny(explained));
  if (found.kind === "nothing moves") return { average, reasons: [words.why.still] };
  const listed = [...found.up, ...found.down];
  const list = (some: Contribution[]) => some.map((one) => `${one.label} (${scale.change(one.value)})`).join(", ");
  const reasons: string[] = [];
  if (found.kind === "none stands out") {
    const [largest] = bySize(listed);
    if (largest) reasons.push(words.why.noSingle(largest.label, roughShare(Math.abs(largest.value) / totalSize(all))));
    return { average, reasons };
  }
  if (found.up.length) reasons.push(words.why.up(list(found.up)));
  if (found.down.length) reasons.push(words.why.down(list(found.down)));
  reasons.push(words.why.share(listed.length, roughShare(found.share)) + (scale.unit ? words.why.unit(scale.unit) : ""));
  return { average, reasons };
}

/** What is explained: an output, or an output instead of another one. */
export function explainedName({ answer }: RowExplanation, { output }: OutputExplanation): string {
  return answer.instead_of === undefined ? output : words.scales.insteadOf(output, answer.instead_of);
}

/** What the numbers mean, if they are not on the scale of the outputs. */
export function scaleMeaning({ answer }: RowExplanation, { output }: OutputExplanation): string | null {
  return answer.scale === undefined ? null : words.scales.meaning[answer.scale](output, answer.instead_of ?? "");
}

/** The part of a picture with the largest effect: a player, or else one of nine regions. */
export function strongestPart({ shape }: Field, given: Attribution | undefined, { share, regions }: PixelShares, scale: Scale): string {
  if (!isPlayers(given)) return strongestRegion(shape, share, scale);
  const [first] = [...given].sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  if (!first) return "";
  const isPlace = first.box !== undefined || first.label !== undefined;
  const place = isPlace && regions ? regionOf(shape, regions, given.findIndex((one) => samePlace(one, first))) : "";
  return words.image.strongestPlayer(first.player, place, scale.change(first.value), scale.unit);
}

/** "You changed island from Torgersen to Biscoe. …" */
export function changeSentence(fields: Field[], changed: string[], start: RowExplanation["row"], now: RowExplanation["row"]): string {
  const list = fields.flatMap((field) => {
    if (!changed.includes(field.key)) return [];
    const simple = field.kind === "number" || field.kind === "category" || field.kind === "text";
    return [simple ? words.why.changedFrom(field.title, valueText(field, start), valueText(field, now)) : words.why.changedInput(heading(field))];
  });
  return words.why.you(list.join(", "));
}

/** The mean standard error, relative to the mean |attribution|; undefined for a method without standard errors. */
export function relativeError({ attributions, players = [], standard_errors: errors }: OutputExplanation): number | undefined {
  if (!errors) return undefined;
  const total = (values: number[]) => sum(values.map(Math.abs));
  const all = total([...Object.values(attributions).flatMap(numbersOf), ...players.map((one) => one.value)]);
  return total([...Object.values(errors).flatMap(numbersOf), ...players.map((one) => one.standard_error ?? 0)]) / (all || 1);
}

/** How accurate the explanation is, in words for the place beside the result; null if it is exact or close to exact. */
export function accuracyWarning({ answer }: RowExplanation, explained: OutputExplanation): string | null {
  const { method, expected_distance: distance, reliable } = answer;
  if (method === "exact" || reliable === false) return null;
  const own = relativeError(explained);
  if (distance === undefined && own !== undefined) return own > ROUGH ? words.why.uncertain(roughShare(own)) : null;
  if (distance === undefined) return words.why.unmeasured;
  return distance > ROUGH ? words.why.rough(roughShare(distance)) : null;
}

/** The line below a saved picture: how its explanations were made. */
export function savedNote({ spec }: Manifest, { method, background }: Pick<Answer, "method" | "background">): string {
  return words.why.savedNote(method, background.rows, background.name, spec.name, spec.version);
}
