/** Above a row that was opened from the table: its place in the table, its neighbours, and the way back. */
import { words } from "../texts";
import { closeRow, openRow } from "./actions";
import type { Row } from "./rows";
import { lines, openedPlace } from "./state";

export function Opened() {
  const [place, all] = [openedPlace.value, lines.value];
  const row = all[place];
  if (!row) return null;
  const step = (by: 1 | -1): Row | undefined => {
    for (let at = place + by; at >= 0 && at < all.length; at += by) if (all[at]?.fault === undefined) return all[at];
    return undefined;
  };
  const [previous, next] = [step(-1), step(1)];
  return (
    <p class="asked" data-testid="opened">
      <span role="status">{words.opened.where(row.id, place + 1, all.length)}</span>
      <button type="button" disabled={!previous} onClick={() => previous && openRow(previous)}>
        {words.opened.previous}
      </button>
      <button type="button" disabled={!next} onClick={() => next && openRow(next)}>
        {words.opened.next}
      </button>
      <button type="button" onClick={closeRow}>
        {words.opened.back}
      </button>
    </p>
  );
}
