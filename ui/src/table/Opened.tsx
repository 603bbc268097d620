/** Above a row that was opened from the table: its place in the table, its neighbours, and the way back. */
import { opened } from "../state";
import { words } from "../texts";
import { lines, openLine } from "./run";

export function Opened() {
  const place = opened.value;
  const line = place === null ? undefined : lines.value[place];
  if (place === null || !line) return null;
  const step = (by: 1 | -1) => {
    for (let at = place + by; at >= 0 && at < lines.value.length; at += by) if (lines.value[at]?.row) return at;
    return null;
  };
  const [previous, next] = [step(-1), step(1)];
  return (
    <p class="asked" data-testid="opened">
      <span role="status">{words.opened.where(line.id, place + 1, lines.value.length)}</span>
      <button type="button" disabled={previous === null} onClick={() => openLine(previous)}>
        {words.opened.previous}
      </button>
      <button type="button" disabled={next === null} onClick={() => openLine(next)}>
        {words.opened.next}
      </button>
      <button type="button" onClick={() => openLine(null)}>
        {words.opened.back}
      </button>
    </p>
  );
}
