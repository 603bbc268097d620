/** The players that the page offers for the inputs of a model: what gets one attribution each. */
import type { Field } from "../model";
import { words } from "../texts";

/** Each choice: the players as JSON, as in a request, and their name. chosen: players from the address. */
export function playerChoices(fields: Field[], chosen: string | null): [string, string][] {
  const found = fields.flatMap((field) => divisions(field).map(([players, name]): [string, string] => [JSON.stringify({ [field.key]: players }), fields.length > 1 ? `${field.title}: ${name}` : name]));
  if (chosen !== null && !found.some(([players]) => players === chosen)) found.push([chosen, chosen]);
  return found;
}

function divisions({ kind, shape }: Field): [object, string][] {
  const t = words.players;
  switch (kind) {
    case "image": {
      const side = Math.min(...[...shape].sort((one, other) => other - one).slice(0, 2));
      const grids = [4, 8].filter((count) => side >= 2 * count).map((count): [object, string] => [{ patches: [count, count] }, t.patches(count)]);
      return [[{ elements: true }, t.pixels], ...grids, [{ superpixels: Math.min(20, 2 * side) }, t.superpixels(Math.min(20, 2 * side))]];
    }
    case "sequence": {
      const windows = [5, 10].filter((count) => (shape[0] ?? 0) >= 2 * count).map((count): [object, string] => [{ windows: count }, t.windows(count)]);
      const channels = (shape[1] ?? 1) > 1;
      return [[{ elements: true }, t.steps], ...windows, ...(channels ? [[{ channels: true }, t.channels], [{ windows: 5, channels: true }, t.windowChannels(5)]] as [object, string][] : [])];
    }
    case "text":
      return [[{ elements: true }, t.tokens], [{ words: true }, t.words]];
    default:
      return [];
  }
}
