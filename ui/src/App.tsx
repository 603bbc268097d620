/** The whole page. */
import { useEffect, useRef } from "preact/hooks";

import { explanationQuery, predictionQuery } from "./answers";
import { RequestError, key, keyProblem } from "./api/client";
import { Form } from "./form/Form";
import { selectModel, loadError, model, models, loadModels, view } from "./state";
import { Table } from "./table/Table";
import { ErrorNotice } from "./ErrorNotice";
import { Prediction } from "./why/Prediction";
import { Why } from "./why/Why";

export function App() {
  const shown = model.value;
  return (
    <>
      <header>
        <h1>Whyserve</h1>
        {models.value.length > 0 && <Models />}
        <nav aria-label="Elsewhere">
          <a href="/help">What this means</a> <a href="/docs">The API</a>
        </nav>
      </header>
      <main>
        <Key />
        {loadError.value && <ErrorNotice error={loadError.value} onRetry={() => void loadModels()} what="Not as asked:" />}
        {shown && (
          <>
            <About />
            <div class="views" role="group" aria-label="What to explain">
              {(["row", "table"] as const).map((one) => (
                <button key={one} type="button" aria-pressed={view.value === one} onClick={() => (view.value = one)}>
                  {one === "row" ? "One row" : "A table of rows"}
                </button>
              ))}
            </div>
            {view.value === "row" ? (
              <div class="columns">
                <Form />
                <div class="results">
                  <Prediction />
                  <Why />
                </div>
              </div>
            ) : (
              <Table />
            )}
          </>
        )}
      </main>
    </>
  );
}

function Models() {
  const take = async (name: string) => {
    try {
      await selectModel(name);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      loadError.value = error;
    }
  };
  return (
    <label class="models">
      Model{" "}
      <select data-testid="model" value={model.value?.spec.name ?? ""} onChange={(event) => void take(event.currentTarget.value)}>
        {models.value.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

function About() {
  const spec = model.value?.spec;
  if (!spec) return null;
  const { score } = spec;
  return (
    <p class="lead">
      {spec.description}
      <span class="hint">
        {" "}
        {spec.source && `Trained on: ${spec.source}.`} {score && `${score.metric} ${score.value} on ${score.on}.`}
      </span>
    </p>
  );
}

/** A form for the key, shown when the service requires one or rejects the one it received. */
function Key() {
  const field = useRef<HTMLInputElement>(null);
  const wanted = keyProblem.value;
  useEffect(() => field.current?.focus(), [wanted]);
  if (!wanted) return null;
  const give = (event: Event) => {
    event.preventDefault();
    key.set(field.current?.value.trim() ?? "");
    keyProblem.value = null;
    if (model.value) [predictionQuery, explanationQuery].forEach((one) => one.retry());
    else void loadModels();
  };
  return (
    <form class="card" onSubmit={give} data-testid="key">
      <label for="key">Key</label> <input id="key" ref={field} type="password" autocomplete="off" aria-describedby="key-words" /> <button type="submit">Use this key</button>
      <p class="fault" id="key-words" role="alert">
        {wanted.detail}
      </p>
      <p class="hint">It stays in this tab, and is gone when the tab is closed.</p>
    </form>
  );
}
