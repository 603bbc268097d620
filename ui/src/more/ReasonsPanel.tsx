/** The reasons for people: the sentence, and each reason with its code. */
import { roughShare, scaleOf } from "../format";
import { fromRow } from "../model";
import { model, modelFields } from "../state";
import { words } from "../texts";
import { valueText } from "../why/contributions";
import { language, reasonsQuery } from "./state";

export function ReasonsPanel() {
  const given = reasonsQuery.state.value.value;
  const shown = model.value;
  if (!shown?.spec.reasons) return null;
  const { language: own, languages } = shown.spec.reasons;
  const others = Object.keys(languages);
  return (
    <>
      {others.length > 0 && (
        <label>
          {words.more.language}{" "}
          <select data-testid="language" value={language.value ?? own} onChange={(event) => (language.value = event.currentTarget.value === own ? null : event.currentTarget.value)}>
            {[own, ...others].map((one) => (
              <option key={one} value={one}>
                {languageName(one)}
              </option>
            ))}
          </select>
        </label>
      )}
      {given && <List />}
    </>
  );
}

/** The name of a language in that language. */
function languageName(code: string): string {
  try {
    return new Intl.DisplayNames([code], { type: "language" }).of(code) ?? code;
  } catch {
    return code; // model.toml may name a language in any way
  }
}

function List() {
  const [given, shown] = [reasonsQuery.state.value.value, model.value];
  if (!given || !shown) return null;
  const { reasons, background } = given;
  const scale = scaleOf(shown);
  return (
    <>
      {reasons.sentence && (
        <p data-testid="reasons-sentence" lang={language.value ?? undefined}>
          {reasons.sentence}
        </p>
      )}
      {reasons.named.length === 0 && <p>{words.more.noReason}</p>}
      <ol class="reasons">
        {reasons.named.map((one) => (
          <li key={one.code}>
            <b>{one.code}</b> {one.text}{" "}
            <span class="hint">
              ({valueOf(one.feature, one.value)}; {words.more.effect(scale.change(one.attribution), scale.unit, reasons.output)}
              {one.tied_with && `; ${words.more.tied(one.tied_with.map(titleOf).join(", "))}`})
            </span>
          </li>
        ))}
      </ol>
      <p class="hint">
        {reasons.not_named !== undefined && words.more.notNamed(roughShare(reasons.not_named))} {words.more.compared(background.rows, background.name)}
      </p>
    </>
  );
}

const titleOf = (key: string) => modelFields.value.find((field) => field.key === key)?.title ?? key;

/** value: of a group, by feature. */
function valueOf(feature: string, value: unknown): string {
  const row = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : { [feature]: value };
  const fields = modelFields.value.filter((field) => field.key in row);
  const typed = fromRow(fields, row);
  return fields.map((field) => `${field.title} ${valueText(field, typed)}`).join(", ");
}
