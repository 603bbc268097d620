/** The whole page. */
import { useEffect, useRef } from "preact/hooks";

import { explaining, predicting } from "./answers";
import { Refusal, key, keyWanted } from "./api/client";
import { Form } from "./form/Form";
import { choose, loading, model, models, open, view } from "./state";
import { Table } from "./table/Table";
import { Trouble } from "./Trouble";
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
        {loading.value && <Trouble refusal={loading.value} onRetry={() => void open()} what="Not as asked:" />}
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
      await choose(name);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      loading.value = error;
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

/** The service asked for a key, or does not know the one it was given. */
function Key() {
  const field = useRef<HTMLInputElement>(null);
  const wanted = keyWanted.value;
  useEffect(() => field.current?.focus(), [wanted]);
  if (!wanted) return null;
  const give = (event: Event) => {
    event.preventDefault();
    key.set(field.current?.value.trim() ?? "");
    keyWanted.value = null;
    if (model.value) [predicting, explaining].forEach((one) => one.retry());
    else void open();
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
