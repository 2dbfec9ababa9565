import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { ApiError, call } from "../lib/api";
import { useAction } from "../lib/live";
import { goTo, linkTo } from "../lib/route";
import type { DryRun, Replay } from "../lib/types";
import { count, stamp } from "../lib/words";
import { Button, Dialog, Field, Problem } from "../parts/basics";

interface Filters {
  webhook_id?: string | undefined;
  type?: string | undefined;
  since?: string | undefined;
  until?: string | undefined;
}

/** Sends all that match once more. It says how many these are before it begins. */
export function ReplayDialog({ filters, onClose }: { filters: Filters; onClose: () => void }): JSX.Element {
  const status = useSignal("failed");
  const rate = useSignal("");
  const counted = useSignal<DryRun | ApiError | undefined>(undefined);
  const starting = useAction();
  const key = useSignal(newKey());
  const asked = JSON.stringify({ ...filters, status: status.value });

  useEffect(() => {
    const stop = new AbortController();
    counted.value = undefined;
    const body = { ...(JSON.parse(asked) as object), dry_run: true };
    call<DryRun>("POST", "/api/replays", { body, signal: stop.signal }).then(
      (run) => (counted.value = run),
      (error: unknown) => {
        if (error instanceof ApiError && !stop.signal.aborted) counted.value = error;
      },
    );
    return () => stop.abort();
  }, [asked, counted]);

  const start = (event: Event): void => {
    event.preventDefault();
    starting.run(async () => {
      const body = { ...(JSON.parse(asked) as object), ...(rate.value ? { rate_per_second: Number(rate.value) } : {}) };
      // Pressing twice, or again after a lost answer, is one replay.
      const replay = await call<Replay>("POST", "/api/replays", { body, headers: { "idempotency-key": key.value } });
      goTo(linkTo(["replays", replay.id]));
    });
  };
  const run = counted.value instanceof ApiError ? undefined : counted.value;
  return (
    <Dialog title="Replay" onClose={onClose}>
      <form onSubmit={start}>
        <p>Every event that matches is sent once more, with the same body, behind what comes in meanwhile.</p>
        <ul class="bare">
          <li>{filters.webhook_id ? "Of one webhook" : "Of all webhooks"}</li>
          {filters.type && <li>Only {filters.type}</li>}
          {filters.since && <li>From {stamp(filters.since)}</li>}
          {filters.until && <li>Until {stamp(filters.until)}</li>}
        </ul>
        <Field label="Which events">
          {(props) => (
            <select {...props} value={status.value} onChange={(event) => (status.value = event.currentTarget.value)}>
              <option value="failed">Given up (dead letters)</option>
              <option value="delivered">Delivered before</option>
            </select>
          )}
        </Field>
        <Field label="At most per second" hint="Empty: the rate that is set for replays. Half of a webhook's own rate stays free for new messages.">
          {(props) => (
            <input {...props} type="number" min={1} max={1000} value={rate.value} onInput={(event) => (rate.value = event.currentTarget.value)} />
          )}
        </Field>
        <p class="counted" role="status">
          {counted.value === undefined ? "Counting …" : run ? matchedWords(run) : ""}
        </p>
        <Problem error={counted.value instanceof ApiError ? counted.value : starting.error} />
        <div class="buttons">
          <Button onClick={onClose}>Close</Button>
          <Button kind="main" isSubmit isDisabled={starting.isRunning || !run || run.matched === 0}>
            {starting.isRunning ? "Starting …" : run ? `Replay ${count(run.matched, "event", "events")}` : "Replay"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** One for each time that the window is opened. `randomUUID` is there over TLS and on this machine alone. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

function matchedWords(run: DryRun): string {
  if (run.matched === 0) return "Nothing matches.";
  const words = count(run.matched, "event matches", "events match");
  return run.is_complete ? `${words}.` : `At least ${words}; there are too many to count in time.`;
}
