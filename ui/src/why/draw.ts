/** Helpers for all pictures. */
import type { Theme } from "../theme";

export interface Canvas {
  width: number;
  theme: Theme;
}

export type Svg = SVGSVGElement;

/** Plot's svg without its style element, which the Content-Security-Policy blocks. page.css has the needed rules. */
export function withoutStyles(plot: Element): Svg {
  const svg = (plot.tagName.toLowerCase() === "svg" ? plot : plot.querySelector("svg")) as Svg | null;
  if (!svg) throw new Error("Plot draws an svg");
  for (const style of svg.querySelectorAll("style")) style.remove();
  return svg;
}

/** One picture from several, from top to bottom. */
export function stacked(parts: Svg[], { width, theme }: Canvas): Svg {
  const whole = node("svg", { "font-family": FONT, fill: theme.ink }) as Svg;
  let top = 0;
  for (const part of parts) {
    part.setAttribute("y", String(top));
    top += Number(part.getAttribute("height"));
    whole.append(part);
  }
  return sized(whole, width, top);
}

/** Set the size of a picture whose height is known after it is drawn. */
export function sized(svg: Svg, width: number, height: number): Svg {
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) svg.setAttribute(key, String(value));
  return svg;
}

export const FONT_PX = 12.5;
export const FONT = "system-ui, sans-serif";

let ruler: CanvasRenderingContext2D | null | undefined;

/** The width of a text in pixels. */
export function measured(text: string, px: number, bold = false): number {
  ruler ??= document.createElement("canvas").getContext("2d");
  if (!ruler) throw new Error("this browser has no canvas");
  ruler.font = `${bold ? "bold " : ""}${px}px ${FONT}`;
  return ruler.measureText(text).width;
}

/** An element of a picture. */
export function node(name: string, given: Record<string, string | number | undefined>, text?: string): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) if (value !== undefined) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}
