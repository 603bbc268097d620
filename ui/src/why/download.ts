/** Downloads of a picture as SVG or PNG, always in the light theme. */
import { LIGHT } from "../theme";
import type { Canvas, Svg } from "./draw";

const WIDTH = 760;
/** PNG pixels per picture unit, so that a PNG is sharp in print. */
const DENSITY = 2;
const EDGE = 16;
const TITLE_PX = 34;

export type Draw = (canvas: Canvas) => Svg;

export async function download(draw: Draw, title: string, kind: "svg" | "png"): Promise<void> {
  const svg = framed(draw({ width: WIDTH, theme: LIGHT }), title);
  const text = new XMLSerializer().serializeToString(svg);
  const drawn = new Blob([text], { type: "image/svg+xml" });
  const blob = kind === "svg" ? drawn : await png(drawn, Number(svg.getAttribute("width")), Number(svg.getAttribute("height")));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function framed(inner: Svg, title: string): Svg {
  const name = "http://www.w3.org/2000/svg";
  const width = Number(inner.getAttribute("width")) + 2 * EDGE;
  const height = Number(inner.getAttribute("height")) + TITLE_PX + EDGE;
  const whole = document.createElementNS(name, "svg");
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "system-ui, sans-serif" })) whole.setAttribute(key, String(value));
  const paper = document.createElementNS(name, "rect");
  for (const [key, value] of Object.entries({ width, height, fill: LIGHT.paper })) paper.setAttribute(key, String(value));
  const caption = document.createElementNS(name, "text");
  for (const [key, value] of Object.entries({ x: EDGE, y: 23, fill: LIGHT.ink, "font-size": 15, "font-weight": 600 })) caption.setAttribute(key, String(value));
  caption.textContent = title;
  inner.setAttribute("x", String(EDGE));
  inner.setAttribute("y", String(TITLE_PX));
  whole.append(paper, caption, inner);
  return whole;
}

async function png(svg: Blob, width: number, height: number): Promise<Blob> {
  const url = URL.createObjectURL(svg);
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [DENSITY * width, DENSITY * height];
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no PNG was made"))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}
