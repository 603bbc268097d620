/** Downloads of a picture as SVG or PNG: the picture of the service, or one of the page in the light theme. */
import { api, dataOf, type ExplainRequest } from "../api/client";
import { LOCALE } from "../texts";
import { LIGHT } from "../theme";
import { FONT, node, sized, type Canvas, type Svg } from "./draw";

const WIDTH = 760;
/** PNG pixels per picture unit, so that a PNG is sharp in print. */
const DENSITY = 2;
const EDGE = 16;
const TITLE_PX = 34;
const NOTE_PX = 16;

const day = new Intl.DateTimeFormat(LOCALE, { dateStyle: "long" });

export type Draw = (canvas: Canvas) => Svg;

/** Save the picture that the service draws: with the method, background and date. Raises RequestError. */
export async function download(body: ExplainRequest, title: string, kind: "svg" | "png"): Promise<void> {
  const type = kind === "svg" ? "image/svg+xml" : "image/png";
  const drawn: unknown = await dataOf(api.POST("/explain", { body, headers: { Accept: type }, parseAs: "blob" }));
  save(drawn as Blob, title, kind);
}

/** Save a picture that only the page draws, of a change or of many rows, with the note and the date below it. */
export async function downloadDrawn(draw: Draw, title: string, note: string, kind: "svg" | "png"): Promise<void> {
  const svg = framed(draw({ width: WIDTH, theme: LIGHT }), title, [note, day.format(new Date())]);
  const drawn = new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });
  save(kind === "svg" ? drawn : await png(drawn, Number(svg.getAttribute("width")), Number(svg.getAttribute("height"))), title, kind);
}

/** Save a file with a name made from the title. */
export function save(content: Blob, title: string, ending: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = `${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function framed(inner: Svg, title: string, notes: string[]): Svg {
  const width = Number(inner.getAttribute("width")) + 2 * EDGE;
  const height = Number(inner.getAttribute("height")) + TITLE_PX + EDGE + NOTE_PX * notes.length;
  const whole = sized(node("svg", { "font-family": FONT }) as Svg, width, height);
  const paper = node("rect", { width, height, fill: LIGHT.paper });
  const caption = node("text", { x: EDGE, y: 23, fill: LIGHT.ink, "font-size": 15, "font-weight": 600 }, title);
  inner.setAttribute("x", String(EDGE));
  inner.setAttribute("y", String(TITLE_PX));
  const lines = notes.map((note, place) => node("text", { x: EDGE, y: height - EDGE - NOTE_PX * (notes.length - 1 - place), fill: LIGHT.muted, "font-size": 11 }, note));
  whole.append(paper, caption, inner, ...lines);
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
