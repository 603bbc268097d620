/** An image: drawn with a pointer or the arrow keys, or loaded from a file. */
import { useEffect, useRef, useState } from "preact/hooks";

import { pixels } from "../why/pixels";
import type { Nested } from "../api/answer";
import { blackAndWhite } from "../model";
import { current, setText } from "../state";
import { words } from "../texts";
import type { EntryProps } from "./entry";
import { fromFile, fromPixels } from "./image";

const SIDE_PX = 240;
const MOVES: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function Drawing({ field, id, described, wrong }: EntryProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [cursor, setCursor] = useState<[number, number] | null>(null);
  const [inverted, setInverted] = useState(false);
  const [problem, setProblem] = useState("");
  const text = current.value[field.key] ?? "";
  const image = read(text);
  const { width, height, at } = pixels(field.shape, image);

  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const data = context.createImageData(width, height);
    at.forEach((channels, pixel) => {
      const level = channels.map((value, channel) => {
        const [low, high] = blackAndWhite(field, channel);
        return (255 * (value - low)) / (high - low);
      });
      data.data.set(level.length >= 3 ? [level[0] ?? 0, level[1] ?? 0, level[2] ?? 0, 255] : [level[0] ?? 0, level[0] ?? 0, level[0] ?? 0, 255], 4 * pixel);
    });
    context.putImageData(data, 0, 0);
  });

  const paint = (x: number, y: number, erase: boolean) => {
    const painted = at.map((channels, pixel) => {
      const far = Math.hypot((pixel % width) - x, Math.floor(pixel / width) - y) / Math.max(1, width / 16);
      const ink = Math.max(0, 1 - 0.62 * far ** 2);
      return channels.map((value, channel) => {
        const [low, high] = blackAndWhite(field, channel);
        return erase ? (far < 1 ? low : value) : Math.max(value, low + ink * (high - low));
      });
    });
    setText(field.key, JSON.stringify(fromPixels(field, painted)));
  };
  const onPointer = (event: PointerEvent) => {
    if (!event.buttons || !canvas.current) return;
    const box = canvas.current.getBoundingClientRect();
    const [x, y] = [Math.floor(((event.clientX - box.left) / box.width) * width), Math.floor(((event.clientY - box.top) / box.height) * height)];
    paint(x, y, event.shiftKey || event.buttons === 2);
    event.preventDefault();
  };
  const onKey = (event: KeyboardEvent) => {
    const move = MOVES[event.key];
    const [x, y] = cursor ?? [Math.floor(width / 2), Math.floor(height / 2)];
    if (move) setCursor([clamp(x + move[0], width), clamp(y + move[1], height)]);
    else if (event.key === " ") paint(x, y, false);
    else if (event.key === "Delete" || event.key === "Backspace") paint(x, y, true);
    else return;
    event.preventDefault();
  };
  const load = async (file: File | undefined) => {
    if (!file) return;
    try {
      setText(field.key, JSON.stringify(await fromFile(file, field, width, height, inverted)));
      setProblem("");
    } catch {
      setProblem(words.form.noPicture(file.name));
    }
  };
  const cell = SIDE_PX / width;
  return (
    <div class="drawing" onDragOver={(event) => event.preventDefault()} onDrop={(event) => (event.preventDefault(), void load(event.dataTransfer?.files[0]))}>
      <div class="easel">
        <canvas
          id={id}
          ref={canvas}
          width={width}
          height={height}
          tabIndex={0}
          role="application"
          aria-label={words.form.drawing(field.title, width, height) + (cursor ? words.form.cursor(cursor[0] + 1, cursor[1] + 1) : "")}
          aria-describedby={described}
          aria-invalid={wrong}
          onPointerDown={onPointer}
          onPointerMove={onPointer}
          onContextMenu={(event) => event.preventDefault()}
          onKeyDown={onKey}
          onFocus={() => setCursor(cursor ?? [Math.floor(width / 2), Math.floor(height / 2)])}
          onBlur={() => setCursor(null)}
        />
        {cursor && <span class="cursor" style={{ left: `${cursor[0] * cell}px`, top: `${cursor[1] * cell}px`, width: `${cell}px`, height: `${cell}px` }} />}
      </div>
      <p class="buttons">
        <button type="button" onClick={() => setText(field.key, JSON.stringify(fromPixels(field, at.map((channels) => channels.map((_, channel) => blackAndWhite(field, channel)[0])))))}>
          {words.form.clear}
        </button>{" "}
        <label class="button">
          {words.form.choosePicture}
          <input type="file" accept="image/*" class="unseen" onChange={(event) => void load(event.currentTarget.files?.[0])} />
        </label>{" "}
        <label>
          <input type="checkbox" checked={inverted} onChange={(event) => setInverted(event.currentTarget.checked)} /> {words.form.inverted}
        </label>
      </p>
      <p class="about">{words.form.draw}</p>
      {problem && (
        <p class="fault" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

const clamp = (place: number, size: number) => Math.min(size - 1, Math.max(0, place));

function read(text: string): Nested {
  try {
    return JSON.parse(text) as Nested;
  } catch {
    return [];
  }
}
