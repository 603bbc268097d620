/** The progress of a long explanation, and a button to cancel it. */
import { useEffect, useRef, useState } from "preact/hooks";

import { explanationQuery } from "../answers";
import { api } from "../api/client";
import type { JobState } from "../api/explain";
import { durationText } from "../format";
import { words } from "../texts";

/** After this wait, the page asks whether any worker is running. */
const ASK_AFTER_MS = 2500;

const percent = (part: number) => `${(100 * part).toPrecision(2)} %`;

export function Progress() {
  const { asking, job } = explanationQuery.state.value;
  const running = asking && job?.status === "running";
  const waiting = asking && job?.status === "queued";
  const [workers, setWorkers] = useState<number | null>(null);
  useEffect(() => {
    setWorkers(null);
    if (!waiting) return;
    const look = () => void api.GET("/health/ready").then(({ data }) => setWorkers(data?.workers ?? null)).catch(() => {});
    const timer = setInterval(look, ASK_AFTER_MS);
    return () => clearInterval(timer);
  }, [waiting]);
  const began = useRef(0);
  useEffect(() => {
    began.current = running ? performance.now() : 0;
  }, [running]);
  if (!asking) return null;
  if (!job) return <p class="hint">{words.progress.computing}</p>;
  const spent = began.current ? performance.now() - began.current : 0;
  const left = spent > 1000 && job.progress > 0.02 ? durationText((spent * (1 - job.progress)) / job.progress) : "";
  const share = Math.round(100 * job.progress);
  return (
    <div class="progress" data-testid="progress">
      <label for="progress">{progressText(job, workers, share, left)}</label>
      <progress id="progress" max={100} value={job.status === "queued" ? undefined : share} />
      <button type="button" onClick={() => explanationQuery.cancel()}>
        {words.progress.cancel}
      </button>
    </div>
  );
}

function progressText(job: JobState, workers: number | null, share: number, left: string): string {
  if (job.lost) return words.progress.lost;
  if (job.status === "queued") return workers === 0 ? words.progress.noWorker : words.progress.queued;
  const error = job.standard_error;
  return words.progress.share(share, left) + (error === undefined ? "" : words.progress.sampled(percent(error)));
}
