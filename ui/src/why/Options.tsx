/** The options of an explanation: class, method, background, samples. */
import { methodInfo } from "../methods";
import { background, method, model, output, samples } from "../state";
import { predictionQuery } from "../answers";

export function Options() {
  const shown = model.value;
  if (!shown) return null;
  const { labels } = shown.spec.output;
  const { methods, default: usual } = shown.certificate;
  const predicted = predictionQuery.state.value.value?.label;
  return (
    <p class="asked">
      {labels.length > 0 && (
        <label>
          Explain{" "}
          <select data-testid="class" value={output.value ?? ""} onChange={(event) => (output.value = event.currentTarget.value || null)}>
            <option value="">what is predicted{predicted !== undefined && ` (${predicted})`}</option>
            {labels.map((label) => (
              <option key={label} value={label}>
                {label}
              </option>
            ))}
          </select>
        </label>
      )}{" "}
      <label>
        Method{" "}
        <select data-testid="method" value={method.value} onChange={(event) => (method.value = event.currentTarget.value)}>
          <option value="auto">the usual ({usual})</option>
          {Object.entries(methods)
            .filter(([, about]) => about.fits)
            .map(([name]) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
        </select>
      </label>{" "}
      {Object.keys(shown.backgrounds ?? {}).length > 0 && (
        <label>
          Compare with{" "}
          <select data-testid="background" value={background.value ?? ""} onChange={(event) => (background.value = event.currentTarget.value || null)}>
            <option value="">the usual background</option>
            {Object.entries(shown.backgrounds ?? {}).map(([name, rows]) => (
              <option key={name} value={name}>
                {name} ({rows} rows)
              </option>
            ))}
          </select>
        </label>
      )}{" "}
      {methodInfo(method.value === "auto" ? usual : method.value)?.samples && (
        <label>
          Samples{" "}
          <select data-testid="samples" value={samples.value ?? ""} onChange={(event) => (samples.value = Number(event.currentTarget.value) || null)}>
            <option value="">as many as usual</option>
            {[...new Set([16, 64, 256, 1024, 4096, ...(samples.value ? [samples.value] : [])])].sort((one, other) => one - other).map((count) => (
              <option key={count} value={count}>
                {count}
              </option>
            ))}
          </select>
        </label>
      )}
    </p>
  );
}
