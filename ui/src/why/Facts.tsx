/** How the explanation was made, in words for people who do not know Shapley values. */
import { explanationQuery } from "../answers";
import { durationText, formatNumber, residualText, roughShare, scaleOf } from "../format";
import { methodInfo } from "../methods";
import { model } from "../state";
import { words } from "../texts";
import type { Comparison } from "./comparison";
import { relativeError } from "./sentences";

export function Facts({ why, explained }: Comparison) {
  const { answer } = why;
  const { value: shownRow, ms } = explanationQuery.state.value;
  const shown = model.value;
  if (!shown) return null;
  const t = words.facts;
  const distance = answer.expected_distance;
  const own = relativeError(explained);
  const short = (share: number) => (share < 0.0005 ? `${formatNumber(0)} %` : roughShare(share));
  const unmeasured = own === undefined ? t.notMeasured : t.sampled(short(own));
  const accuracy = answer.method === "exact" ? t.exact : distance === undefined ? unmeasured : t.distance(short(distance));
  return (
    <dl class="facts">
      <dt>{t.compared}</dt>
      <dd>
        {answer.background.absent ? t.absent(Object.entries(answer.background.absent).map(([name, value]) => `${name}: ${value}`).join(", ")) : t.background(answer.background.rows, answer.background.name)}. {t.backgroundMeaning} <span title={answer.background.sha256}>({answer.background.sha256.slice(0, 8)}…)</span>
      </dd>
      <dt>{t.addsUp}</dt>
      <dd>{residualText(explained, scaleOf(shown, answer.scale))}</dd>
      <dt>{t.accuracy}</dt>
      <dd>{accuracy}.</dd>
      <dt>{t.method}</dt>
      <dd>
        <b>{answer.method}</b>: {methodInfo(answer.method)?.text}. {answer.method_reason && t.chosen(answer.method_reason)} {answer.complete === false && t.deadline}
      </dd>
      {shownRow === why && (
        <>
          <dt>{t.took}</dt>
          <dd>
            {durationText(ms)}
            {answer.cached && t.cached}
          </dd>
        </>
      )}
      <dt>{t.doubt}</dt>
      <dd>
        <a href="help#reading">{t.helpLink}</a>
      </dd>
    </dl>
  );
}
