/** The pictures of inputs other than features: images, texts, sequences. */
import { signal } from "@preact/signals";
import { useCallback, useMemo } from "preact/hooks";

import { numbersOf, type Nested } from "../api/answer";
import { scaleOf } from "../format";
import { blackAndWhite, toRow, type Field } from "../model";
import { modelFields, model } from "../state";
import { words } from "../texts";
import { Chart } from "./Chart";
import { tokensOf, withLetters } from "./contributions";
import type { Comparison } from "./comparison";
import type { Canvas } from "./draw";
import { heat, type View } from "./heat";
import { pixelShares, spansOf } from "./players";
import { strongestPart } from "./sentences";
import { series } from "./series";
import { tokenHeat } from "./tokens";

const imageView = signal<View>("overlay");
const opacity = signal(0.8);

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

interface OneProps extends Props {
  /** The attribution with the strongest colour. */
  most: number;
  heading?: string;
}

/** The strongest colour of one or two pictures. An effect that counts as nothing is painted in a pale colour. */
function strongestColour({ why, explained, before }: Comparison, sizes: (of: Comparison) => number[]): number {
  const shown = model.value;
  const tiny = shown ? scaleOf(shown, why.answer.scale).tiny(explained) : 0;
  return [{ why, explained }, ...(before ? [before] : [])].flatMap(sizes).reduce((most, one) => Math.max(most, Math.abs(one)), Math.max(20 * tiny, Number.MIN_VALUE));
}

function Images(props: Props) {
  const { field, before } = props;
  if (props.explained.attributions[field.key] === undefined) return null;
  const most = strongestColour(props, ({ why, explained }) => pixelShares(field.shape, explained.attributions[field.key], why.masks[field.key]).share);
  return (
    <>
      <div class="views" role="group" aria-label={words.image.views}>
        {(["picture", "overlay", "heat"] as const).map((one) => (
          <button key={one} type="button" aria-pressed={imageView.value === one} onClick={() => (imageView.value = one)}>
            {{ picture: words.image.original, overlay: words.image.overlay, heat: words.image.heat }[one]}
          </button>
        ))}
        {imageView.value === "overlay" && (
          <label>
            {words.image.opacity} <input type="range" min={0} max={1} step={0.05} data-testid="opacity" value={opacity.value} onInput={(event) => (opacity.value = Number(event.currentTarget.value))} />
          </label>
        )}
      </div>
      <div class="beside">
        {before && <OneImage field={field} why={before.why} explained={before.explained} most={most} heading={words.why.atStart} />}
        <OneImage field={field} why={props.why} explained={props.explained} most={most} heading={before && words.why.nowHeading} />
      </div>
    </>
  );
}

function OneImage({ field, why, explained, most, heading }: OneProps) {
  const shown = model.value;
  const [view, strength] = [imageView.value, opacity.value];
  const shares = useMemo(() => pixelShares(field.shape, explained.attributions[field.key], why.masks[field.key]), [field, why, explained]);
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      const image = toRow([field], why.row)[field.key] as Nested;
      return heat({ shape: field.shape, image, shares, range: (channel) => blackAndWhite(field, channel), most, view, opacity: strength, scale: scaleOf(shown, why.answer.scale) }, canvas);
    },
    [shown, field, why, shares, most, view, strength],
  );
  if (!shown) return null;
  const region = strongestPart(field, explained.attributions[field.key], shares, scaleOf(shown, why.answer.scale));
  return (
    <div>
      <Chart draw={draw} heading={heading} title={words.image.title(field.title, explained.output)} description={words.image.described(field.title, explained.output, region)} request={why.request(explained.output)} />
      <p data-testid="strongest">{region}</p>
    </div>
  );
}

function Texts(props: Props) {
  const { field, before } = props;
  const most = strongestColour(props, ({ explained }) => numbersOf(explained.attributions[field.key]));
  return (
    <div class="beside">
      {before && <OneText field={field} why={before.why} explained={before.explained} most={most} heading={words.why.atStart} />}
      <OneText field={field} why={props.why} explained={props.explained} most={most} heading={before && words.why.nowHeading} />
    </div>
  );
}

function OneText({ field, why, explained, most, heading }: OneProps) {
  const shown = model.value;
  const given = useMemo(() => tokensOf(explained.attributions[field.key]), [field, explained]);
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      return tokenHeat({ pieces: withLetters(given ?? [], why.row[field.key] ?? ""), scale: scaleOf(shown, why.answer.scale), most }, canvas);
    },
    [field, why, given, most, shown],
  );
  if (!shown || !given) return null;
  const scale = scaleOf(shown, why.answer.scale);
  const listed = withLetters(given, why.row[field.key] ?? "").map((one) => `${one.label} ${scale.change(one.value)}`).join("; ");
  return <Chart draw={draw} heading={heading} title={words.image.title(field.title, explained.output)} description={words.text.described(field.title, explained.output, listed)} request={why.request(explained.output)} />;
}

function Steps({ field, why, explained, before }: Props) {
  const shown = model.value;
  const [given, errors] = [explained.attributions[field.key], explained.standard_errors?.[field.key]];
  const values = toRow([field], why.row)[field.key] as Nested[];
  const draw = useCallback(
    (canvas: Canvas) => {
      if (!shown) throw new Error("a picture has its model");
      const drawn = {
        name: field.title,
        values,
        spans: spansOf(given, errors, values.length),
        attribution: given as Nested[],
        errors: errors as Nested[] | undefined,
        stepNames: field.stepNames,
        scale: scaleOf(shown, why.answer.scale),
        most: strongestColour({ why, explained }, (of) => numbersOf(of.explained.attributions[field.key])),
        before: before && (toRow([field], before.why.row)[field.key] as Nested[]),
      };
      return series(drawn, canvas);
    },
    [field, why, explained, before?.why, shown],
  );
  if (given === undefined) return null;
  return <Chart draw={draw} title={words.image.title(field.title, explained.output)} description={words.series.described(field.title, values.length, explained.output)} request={why.request(explained.output)} />;
}
