/** How far an explanation is that takes a while, and a way to stop it. */
import { useEffect, useState } from "preact/hooks";

import { explaining } from "../answers";
import { api } from "../api/client";
import type { Followed } from "../api/explain";

/** Someone who waits so long for a worker wants to know whether there is one. */
const ASK_AFTER_MS = 2500;

const percent = (part: number) => `${(100 * part).toPrecision(2)} %`;

export function Progress() {
  const { asking, followed } = explaining.shown.value;
  const waiting = asking && followed?.status === "queued";
  const [workers, setWorkers] = useState<number | null>(null);
  useEffect(() => {
    setWorkers(null);
    if (!waiting) return;
    const look = () => void api.GET("/health/ready").then(({ data }) => setWorkers(data?.workers ?? null)).catch(() => {});
    const timer = setInterval(look, ASK_AFTER_MS);
    return () => clearInterval(timer);
  }, [waiting]);
  if (!asking || !followed) return null;
  const share = Math.round(100 * followed.progress);
  return (
    <div class="progress" data-testid="progress">
      <label for="progress">{words(followed, workers, share)}</label>
      <progress id="progress" max={100} value={followed.status === "queued" ? undefined : share} />
      <button type="button" onClick={() => explaining.cancel()}>
        Cancel
      </button>
    </div>
  );
}

function words(followed: Followed, workers: number | null, share: number): string {
  if (followed.lost) return "The service does not answer; it is asked again every second. The explanation itself is safe.";
  if (followed.status === "queued") return workers === 0 ? "No worker is there to explain just now; the explanation waits for one." : "Waiting for its turn …";
  const error = followed.standard_error;
  return `Explaining, ${share} % …${error === undefined ? "" : ` Sampled to ± ${percent(error)} of the mean effect so far.`}`;
}
