/** A form with one entry per field of the model, filled with the model's example. */
import { signal } from "@preact/signals";

import { explanationQuery, fieldErrors, outside } from "../answers";
import { formatNumber } from "../format";
import { heading, type Field } from "../model";
import { decimalComma } from "../numbers";
import { changed, chooseDecimal, modelFields, current, start, tooLong, setText } from "../state";
import { words } from "../texts";
import { Drawing } from "./Drawing";
import type { EntryProps } from "./entry";
import { NumberField } from "./NumberField";

/** A form with more fields has a search, an order and "Only what matters". */
const MANY = 12;
/** "Only what matters" shows the largest attributions up to this share of all. */
const MATTERS = 0.9;

const wanted = signal("");
const byImportance = signal(false);
const onlyMatters = signal(false);

export function Form() {
  const any = changed.value.length > 0;
  const all = modelFields.value;
  const shown = all.length > MANY ? chosen(all) : all;
  const hasNumbers = all.some((field) => field.kind === "number" || field.kind === "sequence");
  return (
    <form class="card form" aria-labelledby="form-heading" onSubmit={(event) => event.preventDefault()}>
      <h2 id="form-heading">{words.form.heading}</h2>
      <p class="hint">{words.form.hint}</p>
      {all.length > MANY && <Find shown={shown.length} all={all.length} />}
      <div class="fields">
        {shown.map((field) => (
          <Row key={field.key} field={field} />
        ))}
      </div>
      {hasNumbers && (
        <p class="hint">
          <label>
            <input type="checkbox" checked={decimalComma.value} onChange={(event) => chooseDecimal(event.currentTarget.checked)} /> {words.form.decimalComma}
          </label>
        </p>
      )}
      <p class="buttons">
        <button type="button" disabled={!any} onClick={() => (current.value = start.value)}>
          {words.form.reset}
        </button>{" "}
        <button type="button" disabled={!any} onClick={() => (start.value = current.value)}>
          {words.form.rebase}
        </button>
      </p>
      <p class="hint">{tooLong.value ? words.form.tooLong : words.form.address}</p>
    </form>
  );
}

function chosen(all: Field[]): Field[] {
  const explained = explanationQuery.state.value.value?.explained[0];
  const size = ({ key, group }: Field) => {
    const share = explained?.attributions[group ?? key];
    return typeof share === "number" ? Math.abs(share) : 0;
  };
  const sorted = [...all].sort((one, other) => size(other) - size(one));
  const total = all.reduce((sum, field) => sum + size(field), 0);
  let covered = 0;
  const matter = new Set(sorted.filter((field) => (covered += size(field)) - size(field) < MATTERS * total));
  const text = wanted.value.trim().toLowerCase();
  return (byImportance.value ? sorted : all).filter((field) => {
    const isFound = [field.title, field.key, field.group ?? ""].some((name) => name.toLowerCase().includes(text));
    return isFound && (!onlyMatters.value || matter.has(field) || changed.value.includes(field.key));
  });
}

function Find({ shown, all }: { shown: number; all: number }) {
  return (
    <p class="asked">
      <input type="search" aria-label={words.form.search} placeholder={words.form.search} value={wanted.value} onInput={(event) => (wanted.value = event.currentTarget.value)} />
      <label>
        {words.form.order}{" "}
        <select data-testid="order" value={byImportance.value ? "important" : "given"} onChange={(event) => (byImportance.value = event.currentTarget.value === "important")}>
          <option value="given">{words.form.given}</option>
          <option value="important">{words.form.important}</option>
        </select>
      </label>
      <label>
        <input type="checkbox" checked={onlyMatters.value} onChange={(event) => (onlyMatters.value = event.currentTarget.checked)} /> {words.form.matters}
      </label>
      <span class="hint" role="status">
        {words.form.found(shown, all)}
      </span>
    </p>
  );
}

function Row({ field }: { field: Field }) {
  const fault = fieldErrors.value[field.key];
  const bounds = outside.value[field.key];
  const differs = changed.value.includes(field.key);
  const id = `field-${field.key}`;
  const described = [(field.description || field.missing) && `${id}-about`, bounds && !fault && `${id}-outside`, fault && `${id}-fault`].filter(Boolean).join(" ") || undefined;
  return (
    <div class={`field ${fault ? "wrong" : ""} ${differs ? "differs" : ""}`}>
      <label for={id}>
        {heading(field)}
        {field.group && <span class="unit"> ({field.group})</span>}
      </label>
      {differs && (
        <button type="button" class="quiet undo" aria-label={words.form.undo(field.title)} onClick={() => setText(field.key, start.value[field.key] ?? "")}>
          ↺ {short(start.value[field.key] ?? "")}
        </button>
      )}
      <Entry field={field} id={id} described={described} wrong={Boolean(fault)} />
      {(field.description || field.missing) && (
        <p class="about" id={`${id}-about`}>
          {field.description} {field.missing && words.form.mayBeMissing}
        </p>
      )}
      {bounds && !fault && (
        <p class="warning" id={`${id}-outside`}>
          {words.prediction.outside(field.title, formatNumber(bounds.low), formatNumber(bounds.high))}
        </p>
      )}
      {fault && (
        <p class="fault" id={`${id}-fault`} role="alert">
          {fault}
        </p>
      )}
    </div>
  );
}

function short(text: string) {
  return text.length > 14 ? "" : text;
}

function Entry(props: EntryProps) {
  switch (props.field.kind) {
    case "number":
      return <NumberField {...props} />;
    case "category":
      return <Category {...props} />;
    case "image":
      return <Drawing {...props} />;
    default:
      return <Text {...props} />;
  }
}

function Category({ field, id, described, wrong }: EntryProps) {
  const text = current.value[field.key] ?? "";
  return (
    <select id={id} aria-describedby={described} aria-invalid={wrong} value={text} onChange={(event) => setText(field.key, event.currentTarget.value)}>
      {field.missing && <option value="">{words.form.notKnown}</option>}
      {!field.categories.includes(text) && (text || !field.missing) && <option value={text}>{text}</option>}
      {field.categories.map((category) => (
        <option key={category} value={category}>
          {category}
        </option>
      ))}
    </select>
  );
}

function Text({ field, id, described, wrong }: EntryProps) {
  const kind = field.kind as "text" | "sequence" | "tensor";
  return (
    <>
      <textarea
        id={id}
        rows={kind === "text" ? 2 : 5}
        spellcheck={false}
        aria-describedby={[`${id}-hint`, described].filter(Boolean).join(" ")}
        aria-invalid={wrong}
        value={current.value[field.key] ?? ""}
        onInput={(event) => setText(field.key, event.currentTarget.value)}
      />
      <p class="about" id={`${id}-hint`}>
        {words.form[kind]} {kind !== "text" && words.form.size(field.shape.join(" × "))}
      </p>
    </>
  );
}
