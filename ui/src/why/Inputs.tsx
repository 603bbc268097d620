/** The pictures of inputs other than features: images, texts, sequences. */
import { useCallback } from "preact/hooks";

import { isTokens, type Nested } from "../api/answer";
import { blackAndWhite, toRow, type Field } from "../model";
import { modelFields, model } from "../state";
import { scaleOf } from "../format";
import { Chart } from "./Chart";
import type { Canvas } from "./draw";
import { heat, pixelAttributions } from "./heat";
import { withLetters } from "./contributions";
import type { Comparison } from "./comparison";
import { series } from "./series";
import { tokenHeat } from "./tokens";

export function Inputs(comparison: Comparison) {
  return (
    <>
      {modelFields.value.map((field) => {
        if (field.kind === "image") return <Images key={field.key} field={field} {...comparison} />;
        if (field.kind === "text") return <Texts key={field.key} field={field} {...comparison} />;
        if (field.kind === "sequence") return <Steps key={field.key} field={field} {...comparison} />;
        return null;
      })}
    </>
  );
}

interface Props extends Comparison {
  field: Field;
}

function Images({ field, why, explained, before }: Props) {
  const share = (of: typeof explained) => Math.max(...pixelAttributions(field.shape, (of.attributions[field.key] ?? []) as Nested).map(Math.abs));
  const most = Math.max(share(explained), before ? share(before.explained) : 0) || 1;
  return (
    <div class="beside">
      {before && <OneImage field={field} why={before.why} explained={before.explained} most={most} heading="At the start" />}
      <OneImage field={field} why={why} explained={explained} most={most} heading={before ? "Now" : undefined} />
    </div>
  );
}

function OneImage({ field, why, explained, most, heading }: Props & { most: number; heading?: string }) {
  const image = toRow([field], why.row)[field.key] as Nested;
  const attribution = (explained.attributions[field.key] ?? []) as Nested;
  const draw = useCallback(
    (canvas: Canvas) => heat({ shape: field.shape, image, attribution, range: (channel) => blackAndWhite(field, channel), most }, canvas),
    [field, why, explained, most],
  );
  return <Chart draw={draw} heading={heading} title={`${field.key}: why ${explained.output}`} description={`${field.key}, each pixel coloured by what it adds to ${explained.output} or takes away; ${strongest(field, attribution)}`} />;
}

/** The pixel with the largest attribution as text, for screen readers. */
function strongest(field: Field, attribution: Nested): string {
  const all = pixelAttributions(field.shape, attribution);
  const width = field.shape.length === 3 && (field.shape[0] ?? 0) <= 4 ? (field.shape[2] ?? 1) : (field.shape[1] ?? 1);
  const at = all.reduce((best, value, place) => (Math.abs(value) > Math.abs(all[best] ?? 0) ? place : best), 0);
  return `strongest at column ${(at % width) + 1}, row ${Math.floor(at / width) + 1}, which ${(all[at] ?? 0) < 0 ? "takes away" : "adds"}.`;
}

function Texts({ field, why, explained, before }: Props) {
  const share = (of: typeof explained) => {
    const given = of.attributions[field.key];
    return isTokens(given) ? Math.max(...given.map((one) => Math.abs(one.value))) : 0;
  };
  const most = Math.max(share(explained), before ? share(before.explained) : 0) || 1;
  return (
    <div class="beside">
      {before && <OneText field={field} why={before.why} explained={before.explained} most={most} heading="At the start" />}
      <OneText field={field} why={why} explained={explained} most={most} heading={before ? "Now" : undefined} />
    </div>
  );
}

function OneText({ field, why, explained, most, heading }: Props & { most: number; heading?: string }) {
  const shown = model.value;
  const given = explained.attributions[field.key];
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      return tokenHeat({ pieces: isTokens(given) ? withLetters(given, why.row[field.key] ?? "") : [], scale: scaleOf(shown), most }, canvas);
    },
    [field, why, given, most, shown],
  );
  if (!shown || !isTokens(given)) return null;
  const scale = scaleOf(shown);
  const listed = withLetters(given, why.row[field.key] ?? "").map((one) => `${one.label} ${scale.change(one.value)}`).join("; ");
  return <Chart draw={draw} heading={heading} title={`${field.key}: why ${explained.output}`} description={`${field.key}, each piece coloured by what it adds to ${explained.output} or takes away: ${listed}.`} />;
}

function Steps({ field, why, explained, before }: Props) {
  const shown = model.value;
  const values = toRow([field], why.row)[field.key] as Nested[];
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      return series({
        name: field.key,
        values,
        attribution: explained.attributions[field.key] as Nested[],
        errors: explained.standard_errors?.[field.key] as Nested[] | undefined,
        scale: scaleOf(shown),
        before: before && (toRow([field], before.why.row)[field.key] as Nested[]),
      }, canvas);
    },
    [field, why, explained, before?.why, shown],
  );
  const description = `${field.key}, ${values.length} steps, and under each of them what it adds to ${explained.output} or takes away; the numbers are in the table below.`;
  return <Chart draw={draw} title={`${field.key}: why ${explained.output}`} description={description} />;
}
