/** The list of rows: prediction, score and reasons of each; sorted, filtered, 50 per page. A row opens as one row. */
import { secondLabel } from "../api/answer";
import { durationText, scaleOf } from "../format";
import { model } from "../state";
import { words } from "../texts";
import { explainAll, openRow } from "./actions";
import { labelOf, scoreOf, type Row } from "./rows";
import { isLacking, msPerRow, progress, stopped } from "./run";
import { allExplained, eachSecond, explained, filter, isLarge, labels, page, pages, predictedRows, refusedRows, shownLines, shownPage, sorting, topReasons, type Column } from "./state";

export function Results() {
  const faults = refusedRows.value.length > 0;
  if (predictedRows.value.length === 0 && !faults) return null;
  return (
    <div class="card listed">
      <p class="asked">
        <Filter />
        <Pages />
        <EachSecond />
        <Whole />
      </p>
      <div class="scroll all" tabIndex={0} role="region" aria-label={words.table.caption}>
        <table class="rows" data-testid="rows-table">
          <thead>
            <tr>
              <Head column="line" title={words.table.row} />
              <Head column="prediction" title={words.table.predicted} />
              <Head column="score" title={words.table.score} />
              {allExplained.value ? <Head column="reasons" title={words.table.reasons} /> : <th scope="col">{words.table.reasons}</th>}
              {faults && <th scope="col">{words.table.problem}</th>}
            </tr>
          </thead>
          <tbody>
            {shownLines.value.map((row) => (
              <OneLine key={row.line} row={row} faults={faults} />
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function Pages() {
  const [at, all] = [shownPage.value, pages.value];
  return (
    <>
      <span role="status" data-testid="page">
        {words.table.page(at + 1, all)}
      </span>
      <button type="button" disabled={at === 0} onClick={() => (page.value = at - 1)}>
        {words.table.previousPage}
      </button>
      <button type="button" disabled={at >= all - 1} onClick={() => (page.value = at + 1)}>
        {words.table.nextPage}
      </button>
    </>
  );
}

/** A button that explains each row's label instead of its second most likely one, and a button that leaves this. */
function EachSecond() {
  const first = predictedRows.value[0]?.prediction;
  if (first?.label === undefined || secondLabel(first) === undefined) return null;
  return (
    <button type="button" aria-pressed={eachSecond.value} data-testid="each-second" onClick={() => (eachSecond.value = !eachSecond.value)}>
      {words.table.eachSecond}
    </button>
  );
}

/** For a large table: which rows are explained, and a button that explains all of them. */
function Whole() {
  const count = predictedRows.value.length;
  if (!isLarge.value || progress.value || allExplained.value) return null;
  return (
    <>
      <button type="button" data-testid="explain-all" onClick={explainAll}>
        {words.table.explainAll(count, durationText(msPerRow.value * count))}
      </button>
      <span class="hint">{words.table.inView}</span>
    </>
  );
}

function Head({ column, title }: { column: Column; title: string }) {
  const { column: by, down } = sorting.value;
  const sort = () => ([sorting.value, page.value] = [{ column, down: by === column && !down }, 0]);
  return (
    <th scope="col" aria-sort={by !== column ? "none" : down ? "descending" : "ascending"}>
      <button type="button" class="quiet" title={words.table.sort(title)} onClick={sort}>
        {title} {by === column && (down ? "↓" : "↑")}
      </button>
    </th>
  );
}

function Filter() {
  const { kind, label } = filter.value;
  const refused = refusedRows.value.length;
  const pick = (text: string) => {
    filter.value = text.startsWith("label:") ? { kind: "label", label: text.slice(6) } : { kind: text === "refused" ? "refused" : "all" };
    page.value = 0;
  };
  return (
    <label>
      {words.table.filter}{" "}
      <select data-testid="filter" value={kind === "label" ? `label:${label}` : kind} onChange={(event) => pick(event.currentTarget.value)}>
        <option value="all">{words.table.all(predictedRows.value.length + refused)}</option>
        {labels.value.map(([name, count]) => (
          <option key={name} value={`label:${name}`}>
            {words.table.only(name, count)}
          </option>
        ))}
        {refused > 0 && <option value="refused">{words.table.refusedOnly(refused)}</option>}
      </select>
    </label>
  );
}

function OneLine({ row, faults }: { row: Row; faults: boolean }) {
  const shown = model.value;
  if (!shown) return null;
  void explained.value; // the row is filled in place
  const { id, prediction, fault } = row;
  const opens = prediction !== undefined && fault === undefined;
  const scale = scaleOf(shown);
  return (
    <tr class={opens ? "opens" : "refused"} onClick={() => openRow(row)}>
      <th scope="row">
        {opens ? (
          <button type="button" class="quiet" aria-label={words.table.open(id)} onClick={(event) => (event.stopPropagation(), openRow(row))}>
            {id}
          </button>
        ) : (
          id
        )}
      </th>
      <td>{opens && (labelOf(prediction) || scale.value(scoreOf(prediction)))}</td>
      <td>{opens && scale.value(scoreOf(prediction))}</td>
      <td>{isLacking(row) ? !stopped.value && "…" : reasonsText(row)}</td>
      {faults && <td class="fault">{fault}</td>}
    </tr>
  );
}

/** The three largest reasons with their sign. */
function reasonsText(row: Row): string {
  const [shown, why] = [model.value, row.why];
  if (!shown || !why) return "";
  const scale = scaleOf(shown, why.terms.scale);
  const listed = topReasons(row).map((one) => `${one.label} (${scale.change(one.value)})`).join(", ");
  return eachSecond.value && why.insteadOf !== undefined ? words.table.instead(why.insteadOf, listed) : listed;
}
