/** The nearest rows that the model decides otherwise. Features can be held fixed, and a row can be tried. */
import { formatNumber, scaleOf } from "../format";
import { fromRow } from "../model";
import { current, model, modelFields } from "../state";
import { words } from "../texts";
import { valueText } from "../why/contributions";
import { said } from "../why/Prediction";
import { counterfactualQuery, fixedByModel, goal, held, isRegression, type Counterfactual } from "./state";

export function CounterfactualPanel() {
  const shown = model.value;
  if (!shown) return null;
  return (
    <>
      {isRegression(shown) && (
        <p>
          <label>
            {words.more.goal} <input type="number" step="any" data-testid="goal" value={goal.value ?? ""} onInput={(event) => (goal.value = event.currentTarget.value === "" ? null : Number(event.currentTarget.value))} /> {shown.spec.output.unit}
          </label>
        </p>
      )}
      <Held fixed={fixedByModel(shown)} />
      <Found />
    </>
  );
}

/** A box for each feature, or group of features, that can be held fixed. */
function Held({ fixed }: { fixed: string[] }) {
  const groups = new Map(modelFields.value.map((field) => [field.group ?? field.key, field.group ?? field.title]));
  const toggle = (key: string, on: boolean) => (held.value = new Set(on ? [...held.value, key] : [...held.value].filter((one) => one !== key)));
  return (
    <fieldset class="asked">
      <legend>{words.more.hold}</legend>
      {[...groups].map(([key, title]) => (
        <label key={key}>
          <input type="checkbox" checked={fixed.includes(key) || held.value.has(key)} disabled={fixed.includes(key)} onChange={(event) => toggle(key, event.currentTarget.checked)} /> {title}
        </label>
      ))}
    </fieldset>
  );
}

function Found() {
  const [given, shown] = [counterfactualQuery.state.value.value, model.value];
  if (!given || !shown || (isRegression(shown) && goal.value === null)) return null;
  const { found, none } = given.found;
  return (
    <>
      {none !== undefined && <p data-testid="none-found">{words.more.none(none)}</p>}
      <ol class="alternatives">
        {found.map((one) => (
          <Alternative key={JSON.stringify(one.changes)} one={one} from={given.row} />
        ))}
      </ol>
      <p class="hint">{words.more.caution}</p>
    </>
  );
}

function Alternative({ one, from }: { one: Counterfactual; from: Record<string, string> }) {
  const shown = model.value;
  if (!shown) return null;
  const to = fromRow(modelFields.value, one.instance);
  const changes = modelFields.value.flatMap((field) => (valueText(field, from) === valueText(field, to) ? [] : [words.why.changedFrom(field.title, valueText(field, from), valueText(field, to))]));
  return (
    <li>
      {words.more.alternative(changes.join(", "), said(one.prediction, scaleOf(shown)))} <span class="hint">{words.more.far(formatNumber(one.distance))}</span>{" "}
      <button type="button" class="quiet" onClick={() => (current.value = to)}>
        {words.more.tryIt}
      </button>
    </li>
  );
}
