/** A picture that fits its place and theme, says what it shows, and can be kept. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { theme } from "../theme";
import { keep, type Draw } from "./keep";

interface Props {
  draw: Draw;
  title: string;
  /** What the picture says, for those who do not see it. */
  words: string;
  heading?: string;
}

export function Chart({ draw, title, words, heading }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const colours = theme.value;
  useLayoutEffect(() => {
    const element = place.current;
    if (!element) return;
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!width) return;
    const svg = draw({ width, theme: colours });
    svg.setAttribute("aria-hidden", "true");
    place.current?.replaceChildren(svg);
  }, [draw, width, colours]);
  return (
    <figure class="chart">
      {heading && <figcaption>{heading}</figcaption>}
      <div class="picture" role="img" aria-label={words} ref={place} />
      <p class="keep">
        Keep this picture:{" "}
        <button type="button" class="quiet" onClick={() => void keep(draw, title, "svg")}>
          SVG
        </button>{" "}
        <button type="button" class="quiet" onClick={() => void keep(draw, title, "png")}>
          PNG
        </button>
      </p>
    </figure>
  );
}
