/** An error message with a button to try again. */
import type { RequestError } from "./api/client";
import { words } from "./texts";

interface Props {
  error: RequestError;
  onRetry: () => void;
  what: string;
}

export function ErrorNotice({ error, onRetry, what }: Props) {
  const waits = error.status === 0 || error.status === 503;
  return (
    <div class="trouble" role="alert" data-testid="trouble">
      <p>
        <strong>{what}</strong> {error.message}
      </p>
      {error.status === 404 && (
        <p>
          <button type="button" onClick={onRetry}>
            {words.trouble.reload}
          </button>
        </p>
      )}
      {error.isTemporary && (
        <p>
          {waits && words.trouble.waits}
          <button type="button" onClick={onRetry}>
            {words.trouble.retry}
          </button>
        </p>
      )}
    </div>
  );
}
