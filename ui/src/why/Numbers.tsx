/** The attributions as a table, also for people who cannot see the pictures. */
import { useState } from "preact/hooks";

import { model, modelFields } from "../state";
import { residualText, scaleOf } from "../format";
import type { OutputExplanation } from "../api/answer";
import { words } from "../texts";
import { contributions } from "./contributions";
import { bySize } from "./reasons";
import { reasoned } from "./sentences";
import type { RowExplanation } from "../answers";

const MAX_ROWS = 200;
/** A table with more rows has a search field. */
const SEARCH_FROM = 12;

export function Numbers({ why, explained, before }: { why: RowExplanation; explained: OutputExplanation; before?: OutputExplanation }) {
  const [wanted, setWanted] = useState("");
  const shown = model.value;
  if (!shown) return null;
  const scale = scaleOf(shown, why.answer.scale);
  const all = contributions(modelFields.value, explained, why.row);
  const sampled = all.some((one) => one.error !== undefined);
  const then = before && contributions(modelFields.value, before, why.row);
  // The parts of a text or series stay in their order.
  const found = (modelFields.value.length > 1 ? bySize(all) : all).filter((one) => one.label.toLowerCase().includes(wanted.trim().toLowerCase()));
  return (
    <details>
      <summary>{words.why.numbers}</summary>
      {all.length > SEARCH_FROM && (
        <label>
          {words.why.searchNumbers} <input type="search" value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
        </label>
      )}
      <div class="scroll" tabIndex={0} role="region" aria-label={words.why.numbers}>
        <table>
          <thead>
            <tr>
              <th scope="col">{words.why.what}</th>
              <th scope="col">{words.why.effect(scale.unit)}</th>
              {sampled && <th scope="col">{words.why.error}</th>}
              {then && <th scope="col">{words.why.before}</th>}
            </tr>
          </thead>
          <tbody>
            {found.slice(0, MAX_ROWS).map((one) => (
              <tr key={one.label}>
                <th scope="row">{one.label}</th>
                <td>{scale.change(one.value)}</td>
                {sampled && <td>{one.error === undefined ? "" : `±${scale.change(one.error).replace("+", "")}`}</td>}
                {then && <td>{scale.change(then.find((other) => other.key === one.key)?.value ?? 0)}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Copy why={why} explained={explained} />
    </details>
  );
}

/** The explanation as text, for mail and reports. */
function Copy({ why, explained }: { why: RowExplanation; explained: OutputExplanation }) {
  const [done, setDone] = useState(false);
  const shown = model.value;
  if (!shown) return null;
  const scale = scaleOf(shown, why.answer.scale);
  const copy = async () => {
    const { average, reasons } = reasoned(modelFields.value, why, explained, scale);
    const lines = bySize(contributions(modelFields.value, explained, why.row)).map((one) => `${one.label}: ${scale.change(one.value)}`);
    await navigator.clipboard.writeText([`${shown.spec.name} ${shown.spec.version}`, average, ...reasons, "", ...lines, "", residualText(explained, scale)].join("\n"));
    setDone(true);
  };
  return (
    <p class="keep">
      <button type="button" class="quiet" onClick={() => void copy()}>
        {words.why.copy}
      </button>{" "}
      <button type="button" class="quiet" onClick={() => print()}>
        {words.why.print}
      </button>{" "}
      <span role="status">{done && words.why.copied}</span>
    </p>
  );
}
