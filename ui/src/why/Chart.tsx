/** A picture with its description and download buttons. It is drawn again when the width or the theme changes. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { theme } from "../theme";
import { download, type Draw } from "./download";

interface Props {
  draw: Draw;
  title: string;
  /** The content of the picture as text, for screen readers. */
  description: string;
  heading?: string;
}

export function Chart({ draw, title, description, heading }: Props) {
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
      <div class="picture" role="img" aria-label={description} ref={place} />
      <p class="keep">
        Keep this picture:{" "}
        <button type="button" class="quiet" onClick={() => void download(draw, title, "svg")}>
          SVG
        </button>{" "}
        <button type="button" class="quiet" onClick={() => void download(draw, title, "png")}>
          PNG
        </button>
      </p>
    </figure>
  );
}
