/** The progress of a long explanation, and a button to cancel it. */
import { useEffect, useState } from "preact/hooks";

import { explanationQuery } from "../answers";
import { api } from "../api/client";
import type { JobState } from "../api/explain";

/** After this wait, the page asks whether any worker is running. */
const ASK_AFTER_MS = 2500;

const percent = (part: number) => `${(100 * part).toPrecision(2)} %`;

export function Progress() {
  const { asking, job } = explanationQuery.state.value;
  const waiting = asking && job?.status === "queued";
  const [workers, setWorkers] = useState<number | null>(null);
  useEffect(() => {
    setWorkers(null);
    if (!waiting) return;
    const look = () => void api.GET("/health/ready").then(({ data }) => setWorkers(data?.workers ?? null)).catch(() => {});
    const timer = setInterval(look, ASK_AFTER_MS);
    return () => clearInterval(timer);
  }, [waiting]);
  if (!asking || !job) return null;
  const share = Math.round(100 * job.progress);
  return (
    <div class="progress" data-testid="progress">
      <label for="progress">{progressText(job, workers, share)}</label>
      <progress id="progress" max={100} value={job.status === "queued" ? undefined : share} />
      <button type="button" onClick={() => explanationQuery.cancel()}>
        Cancel
      </button>
    </div>
  );
}

function progressText(job: JobState, workers: number | null, share: number): string {
  if (job.lost) return "The service does not answer; it is asked again every second. The explanation itself is safe.";
  if (job.status === "queued") return workers === 0 ? "No worker is there to explain just now; the explanation waits for one." : "Waiting for its turn …";
  const error = job.standard_error;
  return `Explaining, ${share} % …${error === undefined ? "" : ` Sampled to ± ${percent(error)} of the mean effect so far.`}`;
}
