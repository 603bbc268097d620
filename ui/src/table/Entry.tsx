/** The form for many rows: the table or its file, and what to explain of each row. */
import { outputs } from "../model";
import { decimalComma } from "../numbers";
import { chooseDecimal, insteadOf, model, output } from "../state";
import { words } from "../texts";
import { Advanced, Compared, pickOutput } from "../why/Options";
import { runTable } from "./actions";
import { held, holdLong, inputError, setText, takeFile, text } from "./input";
import { progress } from "./run";
import { eachSecond } from "./state";

export function Entry() {
  const shown = model.value;
  if (!shown) return null;
  const names = outputs(shown);
  const chosen = output.value ?? names[0] ?? "";
  const paste = (event: ClipboardEvent) => {
    if (holdLong(words.table.clipboard, event.clipboardData?.getData("text") ?? "")) event.preventDefault();
  };
  return (
    <form class="card form" aria-labelledby="rows-heading" onSubmit={(event) => (event.preventDefault(), void runTable())} onDragOver={(event) => event.preventDefault()} onDrop={(event) => (event.preventDefault(), void takeFile(event.dataTransfer?.files[0]))}>
      <h2 id="rows-heading">{words.table.heading}</h2>
      <label for="rows">{words.table.paste}</label>
      <textarea id="rows" rows={14} spellcheck={false} wrap="off" value={text.value} aria-invalid={Boolean(inputError.value)} aria-describedby={inputError.value ? "rows-fault" : undefined} onPaste={paste} onInput={(event) => setText(event.currentTarget.value)} />
      {held.value && (
        <p class="hint" data-testid="held">
          {words.table.held(held.value.name)}
        </p>
      )}
      {inputError.value && (
        <p class="fault" id="rows-fault" role="alert">
          {inputError.value}
        </p>
      )}
      <p class="buttons">
        <label class="button">
          {words.table.choose}
          <input type="file" accept=".csv,.tsv,.txt,.json,.parquet,.pq" class="unseen" onChange={(event) => void takeFile(event.currentTarget.files?.[0])} />
        </label>
      </p>
      <p class="hint">
        <label>
          <input type="checkbox" checked={decimalComma.value} onChange={(event) => chooseDecimal(event.currentTarget.checked)} /> {words.form.decimalComma}
        </label>
      </p>
      <p class="asked">
        {!eachSecond.value && (
          <label>
            {words.table.explain}{" "}
            <select data-testid="rows-class" value={chosen} onChange={(event) => pickOutput(event.currentTarget.value)}>
              {names.map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
        <Compared explained={eachSecond.value ? null : chosen} />
      </p>
      <Advanced compared={eachSecond.value || insteadOf.value !== null} />
      <button type="submit" class="main" disabled={progress.value !== null}>
        {words.table.go}
      </button>
    </form>
  );
}
