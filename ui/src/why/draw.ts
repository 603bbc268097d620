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
  const whole = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  let top = 0;
  for (const part of parts) {
    part.setAttribute("y", String(top));
    top += Number(part.getAttribute("height"));
    whole.append(part);
  }
  whole.setAttribute("width", String(width));
  whole.setAttribute("height", String(top));
  whole.setAttribute("viewBox", `0 0 ${width} ${top}`);
  whole.setAttribute("font-family", "system-ui, sans-serif");
  whole.setAttribute("fill", theme.ink);
  return whole;
}

export const FONT_PX = 12.5;
