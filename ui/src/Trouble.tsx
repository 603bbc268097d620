/** What is wrong, said plainly, with a way to try again. */
import type { Refusal } from "./api/client";

interface Props {
  refusal: Refusal;
  onRetry: () => void;
  what: string;
}

export function Trouble({ refusal, onRetry, what }: Props) {
  const waits = refusal.status === 0 || refusal.status === 503;
  return (
    <div class="trouble" role="alert" data-testid="trouble">
      <p>
        <strong>{what}</strong> {refusal.message}
      </p>
      {refusal.status === 404 && (
        <p>
          <button type="button" onClick={onRetry}>
            Load the models again
          </button>
        </p>
      )}
      {refusal.mayPass && (
        <p>
          {waits && "It is tried again every few seconds; nothing you typed is lost. "}
          <button type="button" onClick={onRetry}>
            Try again now
          </button>
        </p>
      )}
    </div>
  );
}
