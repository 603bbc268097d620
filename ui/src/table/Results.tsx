/** The list of rows: prediction, score and reasons of each; sorted, filtered, 50 per page. A row opens as one row. */
import { scaleOf } from "../format";
import { model } from "../state";
import { words } from "../texts";
import { labelOf, scoreOf } from "./rows";
import { filter, labels, lines, openLine, page, results, sorting, topReasons, type Column, type Line } from "./run";

const ROWS_PER_PAGE = 50;

export function Results() {
  const found = results.value;
  if (!found || found.rows.length + found.errors.length === 0) return null;
  const pages = Math.max(1, Math.ceil(lines.value.length / ROWS_PER_PAGE));
  const at = Math.min(page.value, pages - 1);
  return (
    <div class="card listed">
      <p class="asked">
        <Filter />
        <span role="status" data-testid="page">
          {words.table.page(at + 1, pages)}
        </span>
        <button type="button" disabled={at === 0} onClick={() => (page.value = at - 1)}>
          {words.table.previousPage}
        </button>
        <button type="button" disabled={at >= pages - 1} onClick={() => (page.value = at + 1)}>
          {words.table.nextPage}
        </button>
      </p>
      <div class="scroll all" tabIndex={0} role="region" aria-label={words.table.caption}>
        <table class="rows" data-testid="rows-table">
          <thead>
            <tr>
              <Head column="line" title={words.table.row} />
              <Head column="prediction" title={words.table.predicted} />
              <Head column="score" title={words.table.score} />
              <Head column="reasons" title={words.table.reasons} />
              {found.errors.length > 0 && <th scope="col">{words.table.problem}</th>}
            </tr>
          </thead>
          <tbody>
            {lines.value.slice(at * ROWS_PER_PAGE, (at + 1) * ROWS_PER_PAGE).map((line, place) => (
              <OneLine key={line.line} line={line} place={at * ROWS_PER_PAGE + place} faults={found.errors.length > 0} />
            ))}
          </tbody>
        </table>
      </div>
    </div>
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
  const { rows = [], errors = [] } = results.value ?? {};
  const { kind, label } = filter.value;
  const value = kind === "label" ? `label:${label}` : kind;
  const pick = (text: string) => {
    filter.value = text.startsWith("label:") ? { kind: "label", label: text.slice(6) } : { kind: text === "refused" ? "refused" : "all" };
    page.value = 0;
  };
  return (
    <label>
      {words.table.filter}{" "}
      <select data-testid="filter" value={value} onChange={(event) => pick(event.currentTarget.value)}>
        <option value="all">{words.table.all(rows.length + errors.length)}</option>
        {labels.value.map(([name, count]) => (
          <option key={name} value={`label:${name}`}>
            {words.table.only(name, count)}
          </option>
        ))}
        {errors.length > 0 && <option value="refused">{words.table.refusedOnly(errors.length)}</option>}
      </select>
    </label>
  );
}

function OneLine({ line: { id, row, refused }, place, faults }: { line: Line; place: number; faults: boolean }) {
  const shown = model.value;
  if (!shown) return null;
  const scale = scaleOf(shown);
  return (
    <tr class={row ? "opens" : "refused"} onClick={() => row && openLine(place)}>
      <th scope="row">
        {row ? (
          <button type="button" class="quiet" aria-label={words.table.open(id)} onClick={(event) => (event.stopPropagation(), openLine(place))}>
            {id}
          </button>
        ) : (
          id
        )}
      </th>
      <td>{row && (labelOf(row.prediction) || scale.value(scoreOf(row.prediction)))}</td>
      <td>{row && scale.value(scoreOf(row.prediction))}</td>
      <td>{row && topReasons(row).map((one) => `${one.label} (${scaleOf(shown, row.scale).change(one.value)})`).join(", ")}</td>
      {faults && <td class="fault">{refused?.message}</td>}
    </tr>
  );
}
