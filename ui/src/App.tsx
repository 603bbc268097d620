/** The whole page. */
import { useEffect, useRef } from "preact/hooks";

import { explanationQuery, predictionQuery } from "./answers";
import { RequestError, key, keyProblem } from "./api/client";
import { Decision } from "./decision/Decision";
import { decisionQuery } from "./decision/state";
import { Form } from "./form/Form";
import { More } from "./more/More";
import { selectModel, loadError, loading, model, models, loadModels, view } from "./state";
import { Opened } from "./table/Opened";
import { Table } from "./table/Table";
import { ErrorNotice } from "./ErrorNotice";
import { words } from "./texts";
import { PhoneBar, Prediction } from "./why/Prediction";
import { Why } from "./why/Why";

export function App() {
  const shown = model.value;
  return (
    <>
      <header>
        <h1>Whyserve</h1>
        {models.value.length > 0 && <Models />}
        <nav aria-label={words.app.elsewhere}>
          <a href="help">{words.app.help}</a> <a href="docs">{words.app.api}</a>
        </nav>
      </header>
      <main>
        <p class="intro hint">{words.app.intro}</p>
        <Key />
        {loadError.value && <ErrorNotice error={loadError.value} onRetry={() => void loadModels()} what={words.app.notLoaded} />}
        {loading.value && <p class="hint">{words.app.loading}</p>}
        {!loading.value && !shown && !loadError.value && !keyProblem.value && <p>{words.app.noModels}</p>}
        {shown && (
          <>
            <About />
            <div class="views" role="group" aria-label={words.app.views}>
              {(["row", "table", "decision"] as const).map((one) => (
                <button key={one} type="button" aria-pressed={view.value === one} onClick={() => (view.value = one)}>
                  {words.app[one]}
                </button>
              ))}
            </div>
            {view.value === "row" ? <OneRow /> : view.value === "table" ? <Table /> : <Decision />}
          </>
        )}
      </main>
    </>
  );
}

function OneRow() {
  return (
    <>
      <Opened />
      <div class="columns">
        <Form />
        <div class="results">
          <Prediction />
          <Why />
          <More />
        </div>
      </div>
      <PhoneBar />
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
      {words.app.model}{" "}
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
        {spec.source && words.app.trained(spec.source)} {score && words.app.score(score.metric, score.value, score.on)}
      </span>
    </p>
  );
}

/** A form for the key, shown when the service requires one. A message is shown only if the service rejected a key. */
function Key() {
  const field = useRef<HTMLInputElement>(null);
  const wanted = keyProblem.value;
  useEffect(() => field.current?.focus(), [wanted]);
  if (!wanted) return null;
  const give = (event: Event) => {
    event.preventDefault();
    key.set(field.current?.value.trim() ?? "");
    keyProblem.value = null;
    if (model.value) [predictionQuery, explanationQuery, decisionQuery].forEach((one) => one.retry());
    else void loadModels();
  };
  return (
    <form class="card" onSubmit={give} data-testid="key">
      <p id="key-words">{words.key.why}</p>
      <label for="key">{words.key.label}</label> <input id="key" ref={field} type="password" autocomplete="off" aria-describedby="key-words" /> <button type="submit">{words.key.use}</button>
      {key.get() && (
        <p class="fault" role="alert">
          {wanted.detail}
        </p>
      )}
      <p class="hint">{words.key.kept}</p>
    </form>
  );
}
