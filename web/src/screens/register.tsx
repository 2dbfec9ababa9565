import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { call, type ApiError } from "../lib/api";
import { useAction, useLive } from "../lib/live";
import { goTo, linkTo } from "../lib/route";
import type { Page, Session, Webhook } from "../lib/types";
import { can } from "../lib/who";
import { Button, Copy, Dialog, Field, Problem } from "../parts/basics";

/** What the API says about one field of a form. */
export function wrong(error: ApiError | undefined, name: string): string | undefined {
  return error?.fields.find((field) => field.pointer === `/${name}`)?.detail;
}

/** Whether a problem is about fields that a form shows beside them. */
export function isOf(error: ApiError | undefined, names: string[]): boolean {
  const fields = error?.fields ?? [];
  return fields.length > 0 && fields.every((field) => names.some((name) => field.pointer === `/${name}`));
}

export function Register({ onClose }: { onClose: () => void }): JSX.Element {
  const made = useSignal<Webhook | undefined>(undefined);
  return (
    <Dialog title={made.value ? "The webhook is registered" : "Register a webhook"} onClose={onClose}>
      {made.value ? <Made webhook={made.value} /> : <Form onMade={(webhook) => (made.value = webhook)} />}
    </Dialog>
  );
}

function Form({ onMade }: { onMade: (webhook: Webhook) => void }): JSX.Element {
  const number = useSignal("");
  const url = useSignal("");
  const format = useSignal("native");
  const hasReceipts = useSignal(false);
  const action = useAction();
  const sessions = useLive<Page<Session>>(can("sessions:read") ? "/api/sessions?limit=250" : undefined, 60_000);
  const numbers = [...new Set((sessions.data?.data ?? []).map((session) => session.phone_number).filter(Boolean))];
  const submit = (event: Event): void => {
    event.preventDefault();
    action.run(async () => {
      const body = {
        phone_number: number.value.replace(/[\s+()/-]/g, ""),
        webhook_url: url.value.trim(),
        format: format.value,
        event_types: hasReceipts.value ? ["message", "receipt"] : ["message"],
      };
      onMade(await call<Webhook>("POST", "/api/webhooks/register", { body }));
    });
  };
  return (
    <form onSubmit={submit}>
      <Field label="Phone number" hint="In international form, like +49 151 12345678." error={wrong(action.error, "phone_number")}>
        {(props) => (
          <input {...props} type="tel" required list="numbers" value={number.value} onInput={(event) => (number.value = event.currentTarget.value)} />
        )}
      </Field>
      <datalist id="numbers">
        {numbers.map((known) => (
          <option key={known} value={`+${known ?? ""}`} />
        ))}
      </datalist>
      <Field label="Address" hint="Where messages are sent to: https, and reachable from the internet." error={wrong(action.error, "webhook_url")}>
        {(props) => (
          <input
            {...props}
            type="url"
            required
            placeholder="https://example.com/hook"
            value={url.value}
            onInput={(event) => (url.value = event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Format" hint="Take native, unless your receiver was written for another service.">
        {(props) => (
          <select {...props} value={format.value} onChange={(event) => (format.value = event.currentTarget.value)}>
            <option value="native">Native</option>
            <option value="waha">WAHA</option>
            <option value="evolution">Evolution API</option>
            <option value="cloud">Cloud API of Meta</option>
          </select>
        )}
      </Field>
      <label class="check">
        <input type="checkbox" checked={hasReceipts.value} onChange={(event) => (hasReceipts.value = event.currentTarget.checked)} />
        Also send receipts: what became of messages that the account sent
      </label>
      {!isOf(action.error, ["phone_number", "webhook_url"]) && <Problem error={action.error} />}
      <p class="hint">If the number has a webhook already, that one is changed.</p>
      <div class="buttons">
        <Button kind="main" isSubmit isDisabled={action.isRunning}>
          {action.isRunning ? "Registering …" : "Register"}
        </Button>
      </div>
    </form>
  );
}

function Made({ webhook }: { webhook: Webhook }): JSX.Element {
  return (
    <>
      {webhook.signing_secret ? <Secret text={webhook.signing_secret} /> : <p>The number had a webhook. It is changed, and its secret is as it was.</p>}
      <div class="buttons">
        <Button kind="main" onClick={() => goTo(linkTo(["webhooks", webhook.id]))}>
          Go to the webhook
        </Button>
      </div>
    </>
  );
}

export function Secret({ text }: { text: string }): JSX.Element {
  return (
    <>
      <p>
        This is the signing secret, with which your endpoint checks that requests come from wahook. <strong>It is shown only now.</strong> Put it into
        your receiver&apos;s settings.
      </p>
      <p class="secret">
        <Copy text={text} label="the signing secret" />
      </p>
    </>
  );
}
