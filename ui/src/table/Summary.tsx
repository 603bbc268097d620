/** What matters over all rows: a picture and its ranking. */
import { signal } from "@preact/signals";
import { useCallback, useRef } from "preact/hooks";

import { scaleOf } from "../format";
import { model, modelFields } from "../state";
import { words } from "../texts";
import { Chart } from "../why/Chart";
import { save } from "../why/download";
import type { Canvas } from "../why/draw";
import { savedNote } from "../why/sentences";
import { progress } from "./run";
import { csvParts } from "./save";
import { eachSecond, explained, pictured, predictedRows, spread } from "./state";
import { bars, meanSizes, swarm, type Explained } from "./pictures";

/** More dots than this per feature cannot be told apart. */
const MAX_DOTS = 500;

const picture = signal<"dots" | "bars">("dots");

export function Summary() {
  void explained.value; // the rows are filled in place
  const kind = progress.value?.kind;
  const target = kind === "reading" || kind === "predicting" ? [] : pictured.value;
  const ready = target.flatMap(({ typed, why }) => (why ? [{ typed, ...why }] : []));
  const drawn = useRef<Explained[]>([]);
  // A picture takes time to draw. It is drawn when its rows have doubled, and when all of them are explained.
  const rows = drawn.current;
  const isOther = ready.length < rows.length || ready[0]?.explained !== rows[0]?.explained;
  const isComplete = ready.length === target.length && ready.length > rows.length;
  if (isOther || isComplete || ready.length >= 2 * rows.length) drawn.current = ready;
  return <Drawn rows={drawn.current} />;
}

function Drawn({ rows }: { rows: Explained[] }) {
  const shown = model.value;
  const kind = picture.value;
  const fields = modelFields.value;
  const [first] = rows;
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      const scale = scaleOf(shown, first?.terms.scale);
      return kind === "dots" ? swarm(fields, spread(MAX_DOTS, rows), scale, canvas) : bars(fields, rows, scale, canvas);
    },
    [rows, kind, shown, fields, first],
  );
  if (!shown || !first) return null;
  const [each, count, seen] = [eachSecond.value, predictedRows.value.length, kind === "dots" ? Math.min(rows.length, MAX_DOTS) : rows.length];
  const output = each ? words.table.ownLabel : first.explained.output;
  const other = each ? words.table.secondLabel : first.insteadOf;
  const name = other === undefined ? output : words.scales.insteadOf(output, other);
  const scale = scaleOf(shown, first.terms.scale);
  const ranking = meanSizes(fields, rows).slice(0, 12).map(({ title, mean }) => `${title} ${scale.change(mean).replace("+", "")}`).join("; ");
  const saveTable = async () => save(new Blob(await csvParts(fields, predictedRows.value), { type: "text/csv" }), `why-${shown.spec.name}`, "csv");
  return (
    <>
      <p data-testid="summed">
        {words.table.summed(count, name)}
        {seen < count && words.table.sampled(seen)}
      </p>
      {first.terms.scale && (
        <p class="hint" data-testid="scale">
          {words.scales.meaning[first.terms.scale](output, other ?? "")}
        </p>
      )}
      {first.terms.reliable_reason && (
        <p class="trouble" role="alert" data-testid="unreliable">
          {words.why.unreliable(first.terms.reliable_reason)}
        </p>
      )}
      <div class="views" role="group" aria-label={words.table.pictures}>
        {(["dots", "bars"] as const).map((one) => (
          <button key={one} type="button" aria-pressed={kind === one} onClick={() => (picture.value = one)}>
            {words.table[one]}
          </button>
        ))}
      </div>
      <Chart draw={draw} note={savedNote(shown, first.terms)} title={words.table.title(shown.spec.name, name, rows.length)} description={words.table.ranking(ranking)} />
      <p class="keep">
        {words.table.keep}{" "}
        <button type="button" class="quiet" onClick={() => void saveTable()}>
          {words.table.csv}
        </button>
      </p>
    </>
  );
}
