/** A picture with its description and download buttons. It is drawn again when the width or the theme changes. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";

import type { ExplainRequest } from "../api/client";
import { words } from "../texts";
import { theme } from "../theme";
import { download, downloadDrawn, type Draw } from "./download";

interface Props {
  draw: Draw;
  title: string;
  /** The content of the picture as text, for screen readers. */
  description: string;
  heading?: string;
  /** The request whose picture the service draws. Without one, the picture of the page is saved, with the note below. */
  request?: ExplainRequest;
  note?: string;
}

export function Chart({ draw, title, description, heading, request, note = "" }: Props) {
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
  const save = (kind: "svg" | "png") => void (request ? download(request, title, kind) : downloadDrawn(draw, title, note, kind));
  return (
    <figure class="chart">
      {heading && <figcaption>{heading}</figcaption>}
      <div class="picture" role="img" aria-label={description} ref={place} />
      <p class="keep">
        {words.why.keep}{" "}
        <button type="button" class="quiet" onClick={() => save("svg")}>
          SVG
        </button>{" "}
        <button type="button" class="quiet" onClick={() => save("png")}>
          PNG
        </button>
      </p>
    </figure>
  );
}
