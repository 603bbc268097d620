/** Below the explanation: reasons for people, what would have to be different, and similar cases. */
import type { ComponentChildren } from "preact";

import type { Query } from "../query";
import { model, modelFields } from "../state";
import { words } from "../texts";
import { CounterfactualPanel } from "./CounterfactualPanel";
import { ReasonsPanel } from "./ReasonsPanel";
import { SimilarPanel } from "./SimilarPanel";
import { counterfactualQuery, open, panelsOf, reasonsQuery, similarQuery, type Panel } from "./state";

export function More() {
  const shown = model.value;
  const panels = shown ? panelsOf(shown, modelFields.value) : [];
  if (!panels.length) return null;
  return (
    <section class="card more" aria-labelledby="more-heading">
      <h2 id="more-heading">{words.more.heading}</h2>
      {panels.includes("reasons") && (
        <OnePanel panel="reasons" query={reasonsQuery}>
          <ReasonsPanel />
        </OnePanel>
      )}
      {panels.includes("counterfactuals") && (
        <OnePanel panel="counterfactuals" query={counterfactualQuery}>
          <CounterfactualPanel />
        </OnePanel>
      )}
      {panels.includes("similar") && (
        <OnePanel panel="similar" query={similarQuery}>
          <SimilarPanel />
        </OnePanel>
      )}
    </section>
  );
}

function OnePanel({ panel, query, children }: { panel: Panel; query: Query<unknown>; children: ComponentChildren }) {
  const { asking, error, value } = query.state.value;
  const isOpen = open.value.has(panel);
  const toggle = (now: boolean) => {
    if (now !== isOpen) open.value = new Set(now ? [...open.value, panel] : [...open.value].filter((one) => one !== panel));
  };
  return (
    <details open={isOpen} onToggle={(event) => toggle(event.currentTarget.open)} data-testid={panel} aria-busy={isOpen && asking}>
      <summary>{words.more[panel]}</summary>
      {isOpen && asking && !value && <p class="hint">{words.more.asking}</p>}
      {isOpen && error && (
        <p class="fault" role="alert">
          {error.message}
        </p>
      )}
      {isOpen && <div class={asking || error ? "old" : ""}>{children}</div>}
    </details>
  );
}
