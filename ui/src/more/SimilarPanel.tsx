/** The nearest background rows with what the model says about them, and how unusual the row is. */
import { formatNumber, roughShare, scaleOf } from "../format";
import { fromRow, heading } from "../model";
import { model, modelFields } from "../state";
import { words } from "../texts";
import { valueText } from "../why/contributions";
import { said } from "../why/Prediction";
import { similarQuery } from "./state";

export function SimilarPanel() {
  const [given, shown] = [similarQuery.state.value.value, model.value];
  if (!given || !shown) return null;
  const fields = modelFields.value;
  const near = given.similar ?? [];
  return (
    <>
      {given.more_unusual_share !== undefined && <p data-testid="unusual">{given.more_unusual_share === 0 ? words.more.mostUnusual : words.more.unusual(roughShare(given.more_unusual_share))}</p>}
      {!shown.spec.explain.show_background && <p class="hint">{words.more.notShown}</p>}
      {near.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label={words.more.similar}>
          <table>
            <thead>
              <tr>
                <th scope="col">{words.more.outcome}</th>
                <th scope="col">{words.more.distance}</th>
                {fields.map((field) => (
                  <th scope="col" key={field.key}>
                    {heading(field)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {near.map(({ row, distance, instance, prediction }) => {
                const typed = fromRow(fields, instance);
                return (
                  <tr key={row}>
                    <th scope="row">{said(prediction, scaleOf(shown))}</th>
                    <td>{formatNumber(distance)}</td>
                    {fields.map((field) => (
                      <td key={field.key}>{valueText({ ...field, unit: undefined }, typed)}</td>
                    ))}
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
