/** The attributions as a table, also for people who cannot see the pictures. */
import { model, modelFields } from "../state";
import { scaleOf } from "../format";
import type { OutputExplanation } from "../api/answer";
import { contributions } from "./contributions";
import type { RowExplanation } from "../answers";

const MAX_ROWS = 200;

export function Numbers({ why, explained, before }: { why: RowExplanation; explained: OutputExplanation; before?: OutputExplanation }) {
  const shown = model.value;
  if (!shown) return null;
  const scale = scaleOf(shown);
  const all = contributions(modelFields.value, explained, why.row);
  const sampled = all.some((one) => one.error !== undefined);
  const then = before && contributions(modelFields.value, before, why.row);
  return (
    <details>
      <summary>The numbers</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="The numbers">
        <table>
          <thead>
            <tr>
              <th scope="col">What</th>
              <th scope="col">adds or takes away{scale.unit && `, ${scale.unit}`}</th>
              {sampled && <th scope="col">standard error</th>}
              {then && <th scope="col">at the start</th>}
            </tr>
          </thead>
          <tbody>
            {all.slice(0, MAX_ROWS).map((one, place) => (
              <tr key={one.label}>
                <th scope="row">{one.label}</th>
                <td>{scale.change(one.value)}</td>
                {sampled && <td>{one.error === undefined ? "" : `±${scale.change(one.error).replace("+", "")}`}</td>}
                {then && <td>{scale.change(then[place]?.value ?? 0)}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
