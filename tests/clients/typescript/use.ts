// One model asked through the types of all: what it prints, a test compares.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [address, rows] = process.argv.slice(2);
if (address === undefined || rows === undefined) throw new Error("use.js ADDRESS ROWS");
// An explanation may also be had as a picture; this client takes JSON.
const client = createClient<paths, `application/${string}`>({ baseUrl: address });
const instances: components["schemas"]["WineRow"][] = JSON.parse(rows);

const predicted = await client.POST("/predict", { body: { model: "wine", instances } });
if (predicted.data?.model !== "wine") throw new Error(JSON.stringify(predicted.error));
// `model` tells the union's members apart: from here on these are a wine's scores and labels.
const prediction = predicted.data.predictions[0];
const label: "barolo" | "grignolino" | "barbera" | undefined = prediction?.label;
const barolo: number | undefined = prediction?.scores.barolo;
if (barolo === undefined) throw new Error("no score");

const explained = await client.POST("/explain", { body: { model: "wine", instances, seed: 3 } });
if (explained.data === undefined || !("explanations" in explained.data) || explained.data.model !== "wine") {
  throw new Error(JSON.stringify(explained.error));
}
const output = explained.data.explanations[0]?.outputs[0];

const refused = await client.POST("/predict", { body: { model: "linear", instances: [{ bmi: 1e300, bp: 90 }] } });
const code: string | undefined = refused.error?.code;

// @ts-expect-error a wine has no such feature
output?.attributions.bmi;
// @ts-expect-error a row without its other feature is none
await client.POST("/predict", { body: { model: "linear", instances: [{ bmi: 30 }] } });
// @ts-expect-error there is no such model
await client.POST("/predict", { body: { model: "beer", instances } });

console.log(
  JSON.stringify({
    label,
    value: output?.value,
    alcohol: output?.attributions.alcohol,
    residual: output?.residual,
    code,
  }),
);
