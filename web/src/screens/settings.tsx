import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";

import { call } from "../lib/api";
import { useAction } from "../lib/live";
import type { Webhook } from "../lib/types";
import { can } from "../lib/who";
import { span } from "../lib/words";
import { Button, Field, Problem } from "../parts/basics";
import { isOf, wrong } from "./register";

const FIELDS = ["webhook_url", "max_retries", "rate_per_second", "burst", "in_flight", "retry_schedule", "ordering", "event_types", "format", "signature"];

type Draft = Record<string, string>;

function draftOf(webhook: Webhook): Draft {
  return {
    webhook_url: webhook.webhook_url,
    max_retries: String(webhook.max_retries),
    rate_per_second: String(webhook.rate_per_second),
    burst: String(webhook.burst),
    in_flight: String(webhook.in_flight),
    retry_schedule: webhook.retry_schedule.join(", "),
    ordering: webhook.ordering,
    event_types: webhook.event_types.join(","),
    format: webhook.format,
    signature: webhook.signature,
  };
}

/** What a field's text means for the API. */
function valueOf(name: string, text: string): unknown {
  switch (name) {
    case "retry_schedule":
      return text.trim() === "" ? [] : text.split(/[\s,]+/).filter(Boolean).map(Number);
    case "event_types":
      return text.split(",");
    case "webhook_url":
    case "ordering":
    case "format":
    case "signature":
      return text.trim();
    default:
      return text.trim() === "" ? null : Number(text);
  }
}

/** Only what was changed here: what somebody else has changed meanwhile stays. */
export function changesOf(before: Draft, after: Draft): Record<string, unknown> {
  const changed = Object.keys(after).filter((name) => after[name] !== before[name]);
  return Object.fromEntries(changed.map((name) => [name, valueOf(name, after[name] ?? "")]));
}

export function Settings({ webhook, onChanged }: { webhook: Webhook; onChanged: () => void }): JSX.Element {
  const before = useSignal(draftOf(webhook));
  const draft = useSignal(draftOf(webhook));
  const isSaved = useSignal(false);
  const saving = useAction();
  const changes = changesOf(before.value, draft.value);
  const isChanged = Object.keys(changes).length > 0;
  const mayChange = can("webhooks:write");
  const submit = (event: Event): void => {
    event.preventDefault();
    saving.run(async () => {
      isSaved.value = false;
      const saved = await call<Webhook>("PATCH", `/api/webhooks/${webhook.id}`, { body: changes });
      before.value = draftOf(saved);
      draft.value = draftOf(saved);
      isSaved.value = true;
      onChanged();
    });
  };
  const shared = { draft, error: saving.error };
  return (
    <form class="card settings" onSubmit={submit}>
      <fieldset disabled={!mayChange}>
        <legend class="hidden">Settings of the webhook</legend>
        <Text {...shared} name="webhook_url" label="Address" type="url" hint="https, and reachable from the internet." />
        <div class="columns">
          <Choice {...shared} name="format" label="Format" options={[["native", "Native"], ["waha", "WAHA"], ["evolution", "Evolution API"], ["cloud", "Cloud API of Meta"]]} />
          <Choice {...shared} name="signature" label="Signature" options={[["hmac", "HMAC (v1)"], ["ed25519", "ed25519 (v1a)"], ["both", "Both"]]} />
          <Choice {...shared} name="event_types" label="What is sent" options={[["message", "Messages"], ["message,receipt", "Messages and receipts"], ["receipt", "Receipts"]]} />
          <Choice {...shared} name="ordering" label="Order" options={[["none", "As fast as possible"], ["chat", "In order in each chat"]]} />
          <Text {...shared} name="rate_per_second" label="Requests per second" type="number" />
          <Text {...shared} name="burst" label="Burst" type="number" hint="At once, after a pause." />
          <Text {...shared} name="in_flight" label="In flight" type="number" hint="Requests under way at once." />
          <Text {...shared} name="max_retries" label="Retries" type="number" hint="After the first try, in waits that double." />
        </div>
        <Text {...shared} name="retry_schedule" label="Retry schedule" hint={scheduleWords(draft.value["retry_schedule"] ?? "")} />
        {!isOf(saving.error, FIELDS) && <Problem error={saving.error} />}
        <div class="buttons">
          <span role="status">{isSaved.value && !isChanged ? "Saved." : ""}</span>
          {isChanged && <Button onClick={() => (draft.value = before.value)}>Undo</Button>}
          <Button kind="main" isSubmit isDisabled={!isChanged || saving.isRunning}>
            {saving.isRunning ? "Saving …" : "Save"}
          </Button>
        </div>
      </fieldset>
      {!mayChange && <p class="faint">This token may not change webhooks: it lacks the scope webhooks:write.</p>}
      <h2 class="apart">Headers sent along</h2>
      {Object.keys(webhook.headers).length === 0 ? (
        <p class="faint">None. They are set through the API, field headers.</p>
      ) : (
        <ul class="bare">
          {Object.entries(webhook.headers).map(([name, value]) => (
            <li key={name}>
              <code>
                {name}: {value}
              </code>
            </li>
          ))}
        </ul>
      )}
    </form>
  );
}

export function scheduleWords(text: string): string {
  const waits = text.split(/[\s,]+/).filter(Boolean).map(Number);
  if (waits.length === 0) return "Seconds before each retry, like 5, 60, 3600. Empty: as many retries as above, in waits that double.";
  if (waits.some((wait) => !Number.isInteger(wait) || wait < 1)) return "Whole seconds, with commas between them.";
  return `${waits.length} ${waits.length === 1 ? "retry" : "retries"}: after ${waits.map(span).join(", then ")}. It counts in place of the retries above.`;
}

interface TextProps {
  draft: Signal<Draft>;
  error: ReturnType<typeof useAction>["error"];
  name: string;
  label: string;
  hint?: string;
  type?: "text" | "url" | "number";
}

function Text({ draft, error, name, label, hint, type = "text" }: TextProps): JSX.Element {
  const notes = hint === undefined ? {} : { hint };
  return (
    <Field label={label} {...notes} error={wrong(error, name)}>
      {(props) => (
        <input
          {...props}
          type="text"
          inputMode={type === "number" ? "numeric" : type}
          required={type !== "text"}
          value={draft.value[name] ?? ""}
          onInput={(event) => (draft.value = { ...draft.value, [name]: event.currentTarget.value })}
        />
      )}
    </Field>
  );
}

function Choice({ draft, error, name, label, options }: Omit<TextProps, "hint" | "type"> & { options: [string, string][] }): JSX.Element {
  return (
    <Field label={label} error={wrong(error, name)}>
      {(props) => (
        <select {...props} value={draft.value[name] ?? ""} onChange={(event) => (draft.value = { ...draft.value, [name]: event.currentTarget.value })}>
          {options.map(([value, words]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}
