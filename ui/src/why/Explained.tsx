/** One explanation: sentences, pictures, and the facts about them as text. */
import { useCallback, useMemo } from "preact/hooks";

import type { Answer } from "../api/answer";
import { scaleOf } from "../format";
import { model, modelFields } from "../state";
import { words } from "../texts";
import { Chart } from "./Chart";
import type { Comparison } from "./comparison";
import { contributions } from "./contributions";
import type { Canvas } from "./draw";
import { Facts } from "./Facts";
import { Inputs } from "./Inputs";
import { Numbers } from "./Numbers";
import { bySize } from "./reasons";
import { accuracyWarning, explainedName, reasoned, scaleMeaning } from "./sentences";
import { waterfall } from "./waterfall";

export function Explained(comparison: Comparison) {
  const { why, explained, before } = comparison;
  // For a single text, the coloured text is above the waterfall.
  const textFirst = modelFields.value.length === 1 && modelFields.value[0]?.kind === "text";
  return (
    <>
      <Sentences {...comparison} />
      {textFirst && <Inputs {...comparison} />}
      <Waterfall {...comparison} />
      {!textFirst && <Inputs {...comparison} />}
      <Facts why={why} explained={explained} />
      <Numbers why={why} explained={explained} before={before?.explained} />
    </>
  );
}

export function Unreliable({ answer }: { answer: Answer }) {
  if (answer.reliable !== false) return null;
  return (
    <p class="trouble" role="alert" data-testid="unreliable">
      {words.why.unreliable(answer.reliable_reason ?? "")}
    </p>
  );
}

function Sentences({ why, explained }: Comparison) {
  const shown = model.value;
  if (!shown) return null;
  const { average, reasons } = reasoned(modelFields.value, why, explained, scaleOf(shown, why.answer.scale));
  const meaning = scaleMeaning(why, explained);
  const warning = accuracyWarning(why, explained);
  return (
    <div data-testid="sentence">
      <p>{average}</p>
      {reasons.map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
      {meaning && (
        <p class="hint" data-testid="scale">
          {meaning}
        </p>
      )}
      {warning && (
        <p class="warning" data-testid="accuracy">
          {warning}
        </p>
      )}
    </div>
  );
}

export const isImageAlone = () => modelFields.value.length === 1 && modelFields.value[0]?.kind === "image";

function Waterfall({ why, explained }: Comparison) {
  const shown = model.value;
  const fields = modelFields.value;
  const given = useMemo(() => shown && { explained, scale: scaleOf(shown, why.answer.scale), elements: contributions(fields, explained, why.row) }, [explained, shown, fields, why]);
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!given) throw new Error("a picture has its model");
      return waterfall(given, canvas);
    },
    [given],
  );
  if (!given || !shown || isImageAlone()) return null;
  const { elements, scale } = given;
  const listed = bySize(elements).slice(0, 9).map((one) => `${one.label} ${scale.change(one.value)}`).join("; ");
  const [base, value] = [scale.value(explained.base_value), scale.value(explained.value)];
  return <Chart draw={draw} description={words.why.described(base, value, listed)} title={words.why.picture(shown.spec.name, explainedName(why, explained), value)} request={why.request(explained.output)} />;
}
