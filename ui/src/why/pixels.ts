/** The pixels of a picture, and their attributions. */
import { flat, sum, type Nested } from "../api/answer";

export interface Pixels {
  width: number;
  height: number;
  /** The channels of each pixel, row-major. */
  at: number[][];
}

const channelsFirst = (shape: number[]) => shape.length === 3 && (shape[0] ?? 0) <= 4 && (shape[2] ?? 0) > 4;

export function pixelSize(shape: number[]): { width: number; height: number } {
  const [height = 1, width = 1] = channelsFirst(shape) ? shape.slice(1) : shape;
  return { width, height };
}

/** The pixels of nested lists of shape (H, W), (H, W, C) or (C, H, W). */
export function pixels(shape: number[], nested: Nested): Pixels {
  const first = channelsFirst(shape);
  const { width, height } = pixelSize(shape);
  const numbers = flat(nested);
  const channels = shape.length === 3 ? ((first ? shape[0] : shape[2]) ?? 1) : 1;
  const place = (pixel: number, channel: number) => (first ? channel * width * height + pixel : pixel * channels + channel);
  const at = Array.from({ length: width * height }, (_, pixel) => Array.from({ length: channels }, (_, channel) => numbers[place(pixel, channel)] ?? 0));
  return { width, height, at };
}

/** Each pixel's attribution, summed over its channels. */
export function pixelAttributions(shape: number[], nested: Nested): number[] {
  return pixels(shape, nested).at.map(sum);
}
