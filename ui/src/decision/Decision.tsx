/** A recorded decision: when and by which model it was made, from which input, and why. */
import { useRef } from "preact/hooks";

import type { Recorded } from "../api/client";
import { ErrorNotice } from "../ErrorNotice";
import { scaleOf } from "../format";
import { fromRow, heading } from "../model";
import { current, decision, model, modelFields, start, view } from "../state";
import { LOCALE, words } from "../texts";
import { valueText } from "../why/contributions";
import { Explained, Unreliable } from "../why/Explained";
import { said } from "../why/Prediction";
import { decisionQuery, place, predictionOf, replay, replayQuery, sentRows, typedRow } from "./state";

const time = new Intl.DateTimeFormat(LOCALE, { dateStyle: "long", timeStyle: "long" });

export function Decision() {
  const { value: found, asking, error } = decisionQuery.state.value;
  return (
    <>
      <LookUp />
      {asking && !found && <p class="hint">{words.decision.searching}</p>}
      {error && (
        <p class="trouble" role="alert" data-testid="not-found">
          {error.message}
        </p>
      )}
      {found && !error && (
        <div class="columns">
          <Facts found={found} />
          <Again found={found} />
        </div>
      )}
    </>
  );
}

function LookUp() {
  const field = useRef<HTMLInputElement>(null);
  const find = (event: Event) => {
    event.preventDefault();
    decision.value = field.current?.value.trim() || null;
  };
  return (
    <form class="card form" aria-labelledby="decision-heading" onSubmit={find}>
      <h2 id="decision-heading">{words.decision.heading}</h2>
      <p class="hint" id="decision-hint">
        {words.decision.hint}
      </p>
      <label for="decision">{words.decision.id}</label> <input id="decision" ref={field} class="id" autocomplete="off" spellcheck={false} defaultValue={decision.value ?? ""} aria-describedby="decision-hint" /> <button type="submit">{words.decision.find}</button>
    </form>
  );
}

function Facts({ found }: { found: Recorded }) {
  const t = words.decision;
  const { rows, sent, related, erased } = found;
  const shown = model.value;
  const prediction = predictionOf(found);
  return (
    <section class="card" aria-labelledby="recorded-heading" data-testid="decision">
      <h2 id="recorded-heading">{time.format(new Date(found.time))}</h2>
      {rows > 1 && (
        <p>
          <label>
            {t.row}{" "}
            <select data-testid="decision-row" value={place.value} onChange={(event) => (decision.value = `${found.id}.${event.currentTarget.value}`)}>
              {Array.from({ length: rows }, (_, row) => (
                <option key={row} value={row}>
                  {row}
                </option>
              ))}
            </select>
          </label>
        </p>
      )}
      <dl class="facts">
        <dt>{t.model}</dt>
        <dd>{t.version(found.model, found.version, `${found.manifest.slice(0, 8)}…`)}</dd>
        <dt>{t.kind}</dt>
        <dd>{t.kinds[found.kind] ?? found.kind}</dd>
        {found.caller && (
          <>
            <dt>{t.caller}</dt>
            <dd>{found.caller}</dd>
          </>
        )}
        <dt>{t.program}</dt>
        <dd>{t.whyserve(found.program)}</dd>
        {related.length > 0 && (
          <>
            <dt>{t.related}</dt>
            <dd>
              {related.map((id) => (
                <a key={id} href={`#view=decision&decision=${id}`}>
                  {id}{" "}
                </a>
              ))}
            </dd>
          </>
        )}
        {found.answer !== undefined && (
          <>
            <dt>{t.answer}</dt>
            <dd data-testid="recorded-answer">{prediction && shown ? said(prediction, scaleOf(shown)) : <Raw value={found.answer} />}</dd>
          </>
        )}
      </dl>
      {erased && <p class="warning">{t.erased}</p>}
      {sent !== undefined && <Input found={found} />}
    </section>
  );
}

function Input({ found }: { found: Recorded }) {
  const row = sentRows(found)?.[place.value];
  const fields = modelFields.value.filter((field) => row && field.key in row);
  if (!row || !fields.length || model.value?.spec.name !== found.model) return <Raw value={found.sent} />;
  const typed = fromRow(fields, row);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={words.decision.input}>
      <table>
        <tbody>
          {fields.map((field) => (
            <tr key={field.key}>
              <th scope="row">{heading(field)}</th>
              <td>{valueText({ ...field, unit: undefined }, typed)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What was sent or answered in another form than rows. */
function Raw({ value }: { value: unknown }) {
  return (
    <pre class="scroll" tabIndex={0}>
      {JSON.stringify(value, null, 1)}
    </pre>
  );
}

function Again({ found }: { found: Recorded }) {
  const { value: why, asking, error } = replayQuery.state.value;
  const explained = why?.explained[0];
  const typed = typedRow(found);
  const isServed = model.value?.spec.name === found.model;
  const open = () => {
    if (typed) [start.value, current.value, view.value] = [typed, typed, "row"];
  };
  return (
    <section class="card why results" aria-labelledby="again-heading" aria-busy={asking}>
      <h2 id="again-heading">{words.why.heading}</h2>
      <p class="buttons">
        <button type="button" class="main" disabled={asking} onClick={() => replay(found)}>
          {words.decision.again}
        </button>{" "}
        {typed && isServed && (
          <button type="button" onClick={open}>
            {words.decision.open}
          </button>
        )}
      </p>
      {asking && <p class="hint">{words.decision.explaining}</p>}
      {error && <ErrorNotice error={error} onRetry={() => replayQuery.retry()} what={words.why.none} />}
      {why && explained && (
        <div>
          <p class="hint" data-testid="replayed">
            {why.answer.replay?.may_differ.length ? words.decision.differs(why.answer.replay.may_differ.join("; ")) : words.decision.same}
          </p>
          <Unreliable answer={why.answer} />
          {isServed ? <Explained why={why} explained={explained} /> : <Raw value={why.answer} />}
        </div>
      )}
    </section>
  );
}
