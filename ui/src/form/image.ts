/** Conversions from pictures to the arrays that a model takes. */
import type { Nested } from "../api/answer";
import { blackAndWhite, type Field } from "../model";
import { luminance } from "../why/heat";

/** The channels of each pixel, row-major, as nested lists of the field's shape. */
export function fromPixels({ shape, integer }: Field, at: number[][]): Nested {
  const first = shape.length === 3 && (shape[0] ?? 0) <= 4 && (shape[2] ?? 0) > 4;
  const [height = 1, width = 1] = first ? shape.slice(1) : shape;
  const round = (value: number) => (integer ? Math.round(value) : Number(value.toPrecision(6)));
  const rows = (of: (channels: number[]) => Nested) =>
    Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => of(at[y * width + x] ?? [])));
  if (shape.length === 2) return rows((channels) => round(channels[0] ?? 0));
  if (!first) return rows((channels) => channels.map(round));
  return Array.from({ length: shape[0] ?? 1 }, (_, channel) => rows((channels) => round(channels[channel] ?? 0)));
}

/** The picture in a file, scaled to width × height. If the aspect ratios differ, the middle of the picture is used. */
export async function fromFile(file: File, field: Field, width: number, height: number, inverted: boolean): Promise<Nested> {
  const picture = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser has no canvas");
  context.imageSmoothingQuality = "high";
  const scale = Math.min(picture.width / width, picture.height / height);
  const [w, h] = [width * scale, height * scale];
  context.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const channels = field.shape.length === 3 ? Math.min(...field.shape) : 1;
  const at = Array.from({ length: width * height }, (_, pixel) => {
    const rgb = [...data.subarray(4 * pixel, 4 * pixel + 3)];
    const seen = channels >= 3 ? [...rgb, data[4 * pixel + 3] ?? 255].slice(0, channels) : [luminance(rgb)];
    return seen.map((value, channel) => {
      const [low, high] = blackAndWhite(field, channel);
      return low + ((inverted ? 255 - value : value) / 255) * (high - low);
    });
  });
  return fromPixels(field, at);
}
