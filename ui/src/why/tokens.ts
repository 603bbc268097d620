/** A text with each token coloured by its attribution, and the number below it for people who cannot see colours. */
import type { Scale } from "../format";
import { FONT, measured, node, sized, stacked, type Canvas, type Svg } from "./draw";
import type { TokenText } from "./contributions";
import { colourScale } from "./heat";

export interface TokenHeat {
  pieces: TokenText[];
  scale: Scale;
  /** The attribution with the strongest colour; two pictures to compare have the same one. */
  most: number;
}

const TEXT_PX = 18;
const SHARE_PX = 11;
const LINE_PX = 58;
const BOX_PX = 27;
const PAD_PX = 5;
const BLANK_PX = 7;
const EDGE_PX = 4;
/** The strongest colour on which text stays readable. */
const STRONGEST = 0.6;
const strengthOf = (part: number) => STRONGEST * Math.sqrt(Math.min(1, part));

export function tokenHeat({ pieces, scale, most }: TokenHeat, canvas: Canvas): Svg {
  const { width, theme } = canvas;
  const svg = node("svg", { "font-family": FONT, fill: theme.ink }) as Svg;
  let [x, y] = [EDGE_PX, EDGE_PX];
  pieces.forEach((piece, place) => {
    const shown = piece.letters.trim() || piece.name;
    const share = scale.change(piece.value);
    const own = Math.max(measured(shown, TEXT_PX), measured(share, SHARE_PX)) + 2 * PAD_PX;
    const size = Math.min(own, width - 2 * EDGE_PX);
    const apart = place > 0 && (/^\s/.test(piece.letters) || !piece.letters || (pieces[place - 1]?.end ?? 0) < piece.start);
    if (apart && x > EDGE_PX) x += BLANK_PX;
    if (x + size > width - EDGE_PX && x > EDGE_PX) [x, y] = [EDGE_PX, y + LINE_PX];
    const colour = piece.value < 0 ? theme.down : theme.up;
    const strength = strengthOf(Math.abs(piece.value) / most);
    const middle = { x: x + size / 2, "text-anchor": "middle" };
    svg.append(
      node("rect", { x: x + 0.5, y, width: size - 1, height: BOX_PX, rx: 3, fill: colour, "fill-opacity": strength, stroke: theme.rule }),
      node("text", { ...middle, y: y + 19, "font-size": TEXT_PX, ...(piece.letters.trim() ? {} : { fill: theme.muted, "font-style": "italic" }) }, shown),
      node("text", { ...middle, y: y + BOX_PX + 13, "font-size": SHARE_PX, fill: theme.muted }, share),
    );
    x += size;
  });
  const height = y + LINE_PX - 8;
  return stacked([sized(svg, width, height), colourScale(Math.min(width, 360), theme, most, scale, strengthOf)], canvas);
}
