/** Where the players of an input are: the pixels of a picture, the steps and channels of a series. */
import { flat, isPlayers, type Attribution, type LabelMask, type Nested, type Player } from "../api/answer";
import { pixelAttributions, pixelSize } from "./pixels";

export interface PixelShares {
  /** Each pixel's attribution, or that of its player, summed over channels. */
  share: number[];
  /** The region of each pixel, if players are regions. */
  regions?: number[];
}

/** given: attributions of pixels or of players. mask: where the answer has one. */
export function pixelShares(shape: number[], given: Attribution | undefined, mask?: LabelMask): PixelShares {
  if (!isPlayers(given)) return { share: pixelAttributions(shape, (given ?? []) as Nested) };
  const { width, height } = pixelSize(shape);
  const labels = mask?.runs.flatMap(([label = 0, count = 0]) => Array.from({ length: count }, () => label)) ?? [];
  const share = Array.from({ length: width * height }, () => 0);
  const regions = share.slice();
  given.forEach((player, number) => {
    const first = given.findIndex((other) => samePlace(other, player));
    for (let pixel = 0; pixel < share.length; pixel++) {
      if (!covers(player, pixel % width, Math.floor(pixel / width), labels[pixel])) continue;
      share[pixel] = (share[pixel] ?? 0) + player.value;
      regions[pixel] = Math.min(first, number);
    }
  });
  return { share, regions };
}

/** Whether two players are channels of the same region. */
export const samePlace = (one: Player, other: Player) => one.label === other.label && String(one.box) === String(other.box);

function covers({ box, label }: Player, column: number, row: number, of?: number): boolean {
  if (label !== undefined) return label === of;
  const [top = 0, left = 0, bottom = Infinity, right = Infinity] = box ?? [];
  return row >= top && row < bottom && column >= left && column < right;
}

/** The lines between regions, as a path in pixels. */
export function outlines(regions: number[], width: number): string {
  const lines: string[] = [];
  regions.forEach((region, pixel) => {
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    if (x + 1 < width && regions[pixel + 1] !== region) lines.push(`M${x + 1} ${y}v1`);
    if (pixel + width < regions.length && regions[pixel + width] !== region) lines.push(`M${x} ${y + 1}h1`);
  });
  return lines.join("");
}

/** The steps from start up to end, of one channel or of all (null), and their attribution. */
export interface Span {
  start: number;
  end: number;
  channel: number | null;
  name?: string;
  value: number;
  error: number;
}

/** The players of a series; undefined if each element is a player. */
export function spansOf(given: Attribution | undefined, errors: Attribution | undefined, steps: number): Span[] | undefined {
  if (!isPlayers(given)) return undefined;
  const names = [...new Set(given.flatMap(({ channel }) => (channel === undefined ? [] : [channel])))];
  return given.map(({ start = 0, end = steps, channel, value }, place) => {
    const error = isPlayers(errors) ? (errors[place]?.value ?? 0) : 0;
    return { start, end, channel: channel === undefined ? null : names.indexOf(channel), name: channel, value, error };
  });
}

/** One bar for the same steps of all channels. Its error assumes that the channels' errors are independent. */
export function barsOf(spans: Span[]): { first: number; last: number; share: number; error: number }[] {
  const bars = new Map<number, { first: number; last: number; share: number; error: number }>();
  for (const { start, end, value, error } of spans) {
    const bar = bars.get(start);
    if (bar) [bar.share, bar.error] = [bar.share + value, Math.hypot(bar.error, error)];
    else bars.set(start, { first: start, last: end - 1, share: value, error });
  }
  return [...bars.values()];
}

/** The number of each step's bar where each step is a player. */
export function stepBars(attribution: Nested[], errors: Nested[] | undefined): ReturnType<typeof barsOf> {
  return attribution.map((share, place) => {
    const error = errors?.[place];
    return { first: place, last: place, share: flat(share).reduce((total, one) => total + one, 0), error: typeof error === "number" ? error : 0 };
  });
}
