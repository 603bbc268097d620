/** A form with one entry per field of the model, filled with the model's example. */
import { fieldErrors } from "../answers";
import type { Field } from "../model";
import { changed, modelFields, current, start, tooLong, setText } from "../state";
import { Drawing } from "./Drawing";
import type { EntryProps } from "./entry";
import { NumberField } from "./NumberField";

export function Form() {
  const any = changed.value.length > 0;
  return (
    <form class="card form" aria-labelledby="form-heading" onSubmit={(event) => event.preventDefault()}>
      <h2 id="form-heading">What if …</h2>
      <p class="hint">Change anything: the prediction and its reasons follow, and stay beside where you started.</p>
      <div class="fields">
        {modelFields.value.map((field) => (
          <Row key={field.key} field={field} />
        ))}
      </div>
      <p class="buttons">
        <button type="button" disabled={!any} onClick={() => (current.value = start.value)}>
          Back to the start
        </button>{" "}
        <button type="button" disabled={!any} onClick={() => (start.value = current.value)}>
          Start from here
        </button>
      </p>
      <p class="hint">
        {tooLong.value ? "This row is too large to stand in the address, so the address opens the example." : "The address holds all that you set: send it to show somebody the same."}
      </p>
    </form>
  );
}

function Row({ field }: { field: Field }) {
  const fault = fieldErrors.value[field.key];
  const differs = changed.value.includes(field.key);
  const id = `field-${field.key}`;
  const described = [field.description && `${id}-about`, fault && `${id}-fault`].filter(Boolean).join(" ") || undefined;
  return (
    <div class={`field ${fault ? "wrong" : ""} ${differs ? "differs" : ""}`}>
      <label for={id}>
        {field.key}
        {field.unit && <span class="unit"> {field.unit}</span>}
      </label>
      {differs && (
        <button type="button" class="quiet undo" aria-label={`Set ${field.key} back to the start`} onClick={() => setText(field.key, start.value[field.key] ?? "")}>
          ↺ {short(start.value[field.key] ?? "")}
        </button>
      )}
      <Entry field={field} id={id} described={described} wrong={Boolean(fault)} />
      {field.description && (
        <p class="about" id={`${id}-about`}>
          {field.description}
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
      {!field.categories.includes(text) && <option value={text}>{text}</option>}
      {field.categories.map((category) => (
        <option key={category} value={category}>
          {category}
        </option>
      ))}
    </select>
  );
}

const HINTS = {
  text: "Type or paste a text.",
  sequence: "Paste the numbers, with blanks, commas or line breaks between them.",
  tensor: "Paste the numbers as nested lists: [[1, 2], [3, 4]].",
};

function Text({ field, id, described, wrong }: EntryProps) {
  const kind = field.kind as keyof typeof HINTS;
  const size = field.shape.join(" × ");
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
        {HINTS[kind]} {kind !== "text" && `${size} of them.`}
      </p>
    </>
  );
}
