/** The numbers themselves, for those who want them and those who do not see the pictures. */
import { model, list } from "../state";
import { scaleOf } from "../words";
import type { Explained } from "../api/answer";
import { elements } from "./elements";
import type { Why as Answered } from "../answers";

const MOST = 200;

export function Numbers({ why, explained, before }: { why: Answered; explained: Explained; before?: Explained }) {
  const shown = model.value;
  if (!shown) return null;
  const scale = scaleOf(shown);
  const all = elements(list.value, explained, why.row);
  const sampled = all.some((one) => one.error !== undefined);
  const then = before && elements(list.value, before, why.row);
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
            {all.slice(0, MOST).map((one, place) => (
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
