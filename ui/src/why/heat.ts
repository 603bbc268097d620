/** An image with each pixel's attribution as a colour over it. Players that are regions are outlined. */
import type { Nested } from "../api/answer";
import type { Scale } from "../format";
import { words } from "../texts";
import type { Theme } from "../theme";
import { FONT_PX, node, stacked, type Canvas, type Svg } from "./draw";
import { pixels, pixelSize } from "./pixels";
import { outlines, type PixelShares } from "./players";

/** picture: as the network gets it; overlay: the effects over it; heat: the effects alone. */
export type View = "picture" | "overlay" | "heat";

export interface Heat {
  shape: number[];
  image: Nested;
  shares: PixelShares;
  /** The numbers for black and white in a channel. */
  range: (channel: number) => [number, number];
  /** The attribution with the strongest colour; two pictures to compare have the same one. */
  most: number;
  view: View;
  /** The strength of the colours of an overlay, from 0 to 1. At 0 the picture is unchanged. */
  opacity: number;
  scale: Scale;
}

export function heat({ shape, image, shares: { share, regions }, range, most, view, opacity, scale }: Heat, canvas: Canvas): Svg {
  const { theme } = canvas;
  const seen = pixels(shape, image);
  const strength = view === "picture" ? 0 : view === "heat" ? 1 : opacity;
  const width = Math.min(canvas.width, 360);
  const size = { width, height: Math.round((width * seen.height) / seen.width) };
  const paper = [...rgb(theme.paper), 255];
  const picture = painted(seen.width, seen.height, (pixel) => (view === "heat" ? paper : colour(seen.at[pixel] ?? [], range, strength)));
  const over = painted(seen.width, seen.height, (pixel) => tint(share[pixel] ?? 0, most, strength, theme));
  const layer = (src: string) => node("image", { ...size, href: src, preserveAspectRatio: "none", "image-rendering": "pixelated" });
  const svg = node("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}` }) as Svg;
  svg.append(layer(picture), layer(over));
  if (regions && strength > 0) {
    const path = { d: outlines(regions, seen.width), fill: "none", transform: `scale(${size.width / seen.width} ${size.height / seen.height})`, "vector-effect": "non-scaling-stroke" };
    svg.append(node("path", { ...path, stroke: theme.paper, "stroke-width": 3 }), node("path", { ...path, stroke: theme.ink, "stroke-width": 1, class: "outlines" }));
    // The region that the sentence names has a thicker line.
    const strongest = regions[share.reduce((best, one, pixel) => (Math.abs(one) > Math.abs(share[best] ?? 0) ? pixel : best), 0)];
    svg.append(node("path", { ...path, d: outlines(regions.map((one) => (one === strongest ? 1 : 0)), seen.width), stroke: theme.ink, "stroke-width": 3.5, class: "strongest" }));
  }
  svg.append(node("rect", { ...size, fill: "none", stroke: theme.rule }));
  return stacked([svg, colourScale(width, theme, most, scale)], { width, theme });
}

/** A pixel's own colour. The stronger the effects are painted over it, the greyer it is. */
function colour(channels: number[], range: Heat["range"], strength: number): number[] {
  const level = (value = 0, channel = 0) => {
    const [low, high] = range(channel);
    return 255 * Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  };
  const own = channels.length >= 3 ? channels.slice(0, 3).map(level) : Array.from({ length: 3 }, () => level(channels[0]));
  const grey = luminance(own);
  return [...own.map((value) => value + strength * (grey - value)), 255];
}

export function luminance([red = 0, green = 0, blue = 0]: number[]): number {
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function tint(share: number, largest: number, strength: number, theme: Theme): number[] {
  return [...rgb(share < 0 ? theme.down : theme.up), 255 * strength * Math.min(1, Math.abs(share) / largest)];
}

/** The number, from 0 to 8, of the ninth of a picture that holds a place. */
function ninth({ width, height }: { width: number; height: number }, column: number, row: number): number {
  return 3 * Math.floor((3 * row) / height) + Math.floor((3 * column) / width);
}

/** The part of the picture with the largest effect, as text: one of nine regions. */
export function strongestRegion(shape: number[], share: number[], scale: Scale): string {
  const size = pixelSize(shape);
  const sums = Array.from({ length: 9 }, () => 0);
  share.forEach((value, pixel) => {
    const at = ninth(size, pixel % size.width, Math.floor(pixel / size.width));
    sums[at] = (sums[at] ?? 0) + value;
  });
  const at = sums.reduce((best, value, place) => (Math.abs(value) > Math.abs(sums[best] ?? 0) ? place : best), 0);
  return words.image.strongest(words.image.regions[at] ?? "", scale.change(sums[at] ?? 0), scale.unit);
}

/** Where the middle of a region is: the name of one of nine parts of the picture. */
export function regionOf(shape: number[], regions: number[], region: number): string {
  const size = pixelSize(shape);
  const own = regions.flatMap((one, pixel) => (one === region ? [pixel] : []));
  const mean = (of: (pixel: number) => number) => own.reduce((total, pixel) => total + of(pixel), 0) / (own.length || 1);
  return words.image.regions[ninth(size, mean((pixel) => pixel % size.width), mean((pixel) => Math.floor(pixel / size.width)))] ?? "";
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

/**
 * The colours from the largest negative effect to the largest positive one, in the unit of the output.
 * strength: how strongly an effect is painted, by its part of the largest one.
 */
export function colourScale(width: number, theme: Theme, most: number, scale: Scale, strength = (part: number) => part): Svg {
  const [height, bar, steps] = [46, 12, 24];
  const svg = node("svg", { width, height, "font-size": FONT_PX, fill: theme.ink }) as Svg;
  for (let step = 0; step < steps; step++) {
    const part = (2 * (step + 0.5)) / steps - 1;
    svg.append(node("rect", { x: (step * width) / steps, y: 6, width: width / steps + 0.5, height: bar, fill: part < 0 ? theme.down : theme.up, "fill-opacity": strength(Math.abs(part)) }));
  }
  const ends: [number, string, string][] = [
    [0, "start", `${words.image.lowers} ${scale.change(-most)}`],
    [width, "end", `${words.image.raises} ${scale.change(most)}`],
  ];
  for (const [x, anchor, text] of ends) svg.append(node("text", { x, y: 34, "text-anchor": anchor }, text));
  return svg;
}
