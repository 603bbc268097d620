/** An image with each pixel's attribution as a colour over it. */
import * as Plot from "@observablehq/plot";

import { flat, sum, type Nested } from "../api/answer";
import type { Theme } from "../theme";
import { FONT_PX, withoutStyles, stacked, type Canvas, type Svg } from "./draw";

export interface Pixels {
  width: number;
  height: number;
  /** The channels of each pixel, row-major. */
  at: number[][];
}

/** The pixels of nested lists of shape (H, W), (H, W, C) or (C, H, W). */
export function pixels(shape: number[], nested: Nested): Pixels {
  const first = shape.length === 3 && (shape[0] ?? 0) <= 4 && (shape[2] ?? 0) > 4;
  const [height = 1, width = 1] = first ? shape.slice(1) : shape;
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

export interface Heat {
  shape: number[];
  image: Nested;
  attribution: Nested;
  /** The numbers for black and white in a channel. */
  range: (channel: number) => [number, number];
  /** The attribution with the strongest colour; two pictures to compare have the same one. */
  most?: number;
}

export function heat({ shape, image, attribution, range, most }: Heat, canvas: Canvas): Svg {
  const { theme } = canvas;
  const seen = pixels(shape, image);
  const share = pixelAttributions(shape, attribution);
  const largest = most ?? Math.max(...share.map(Math.abs), Number.MIN_VALUE);
  const width = Math.min(canvas.width, 360);
  const size = { width, height: Math.round((width * seen.height) / seen.width) };
  const picture = painted(seen.width, seen.height, (pixel) => grey(seen.at[pixel] ?? [], range, theme));
  const over = painted(seen.width, seen.height, (pixel) => tint(share[pixel] ?? 0, largest, theme));
  const layer = (src: string) =>
    Plot.image([0], { x: 0.5, y: 0.5, ...size, src: () => src, imageRendering: "pixelated", preserveAspectRatio: "none" });
  const plot = Plot.plot({
    ...size,
    margin: 0,
    x: { domain: [0, 1], axis: null },
    y: { domain: [0, 1], axis: null },
    marks: [layer(picture), layer(over), Plot.frame({ stroke: theme.rule })],
    style: { background: theme.paper },
  });
  return stacked([withoutStyles(plot), legend(width, theme)], { width, theme });
}

/** The image in pale colours, so that the attributions stay visible on it. */
function grey(channels: number[], range: Heat["range"], theme: Theme): number[] {
  const level = (value = 0, channel = 0) => {
    const [low, high] = range(channel);
    return Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  };
  const [paper, ink] = [rgb(theme.paper), rgb(theme.ink)];
  if (channels.length >= 3) return [...channels.slice(0, 3).map((value, channel) => 255 * level(value, channel)), 255];
  const strength = 0.62 * level(channels[0]);
  return [...paper.map((value, i) => value + strength * ((ink[i] ?? 0) - value)), 255];
}

function tint(share: number, largest: number, theme: Theme): number[] {
  const strength = Math.sqrt(Math.abs(share) / largest);
  return [...rgb(share < 0 ? theme.down : theme.up), 215 * Math.min(1, strength)];
}

function rgb(hex: string): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
}

function painted(width: number, height: number, colour: (pixel: number) => number[]): string {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser has no canvas");
  const data = context.createImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) data.data.set(colour(pixel), 4 * pixel);
  context.putImageData(data, 0, 0);
  return canvas.toDataURL();
}

/** What the two colours mean. */
export function legend(width: number, theme: Theme): Svg {
  const swatches = [
    { x: 6, colour: theme.up, label: "speaks for it" },
    { x: Math.round(width / 2), colour: theme.down, label: "speaks against" },
  ];
  const plot = Plot.plot({
    width,
    height: 30,
    margin: 0,
    x: { type: "identity", axis: null },
    y: { type: "identity", axis: null },
    color: { type: "identity" },
    style: { fontSize: `${FONT_PX}px`, background: theme.paper, color: theme.ink },
    marks: [
      Plot.rect(swatches, { x1: "x", x2: ({ x }: { x: number }) => x + 14, y1: 9, y2: 23, fill: "colour", rx: 2 }),
      Plot.text(swatches, { x: ({ x }: { x: number }) => x + 20, y: 16, text: "label", textAnchor: "start", fill: theme.ink }),
    ],
  });
  return withoutStyles(plot);
}
