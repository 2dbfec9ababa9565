import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { call } from "../lib/api";
import { useAction } from "../lib/live";
import type { Session } from "../lib/types";
import { Button, Field, Problem } from "../parts/basics";
import { isOf, wrong } from "./register";

interface Sent {
  message_id: string;
  status: "sent" | "unknown";
}

export function SendText({ session }: { session: Session }): JSX.Element {
  const to = useSignal("");
  const text = useSignal("");
  const sent = useSignal<Sent | undefined>(undefined);
  const sending = useAction();
  const submit = (event: Event): void => {
    event.preventDefault();
    sending.run(async () => {
      sent.value = undefined;
      const wanted = to.value.trim();
      const number = wanted.includes("@") ? wanted : wanted.replace(/[\s+()/-]/g, "");
      const body = { session_id: session.id, to: number, text: text.value };
      sent.value = await call<Sent>("POST", "/api/messages/send", { body });
      text.value = "";
    });
  };
  return (
    <section class="card">
      <h2>Send a text</h2>
      <form onSubmit={submit}>
        <div class="columns">
          <Field label="To" hint="A number, or what a webhook shows as from or chat." error={wrong(sending.error, "to")}>
            {(props) => <input {...props} required value={to.value} onInput={(event) => (to.value = event.currentTarget.value)} />}
          </Field>
          <Field label="Text" error={wrong(sending.error, "text")}>
            {(props) => <textarea {...props} required rows={2} maxLength={4096} value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />}
          </Field>
        </div>
        {!isOf(sending.error, ["to", "text"]) && <Problem error={sending.error} />}
        <div class="buttons">
          <span role="status">
            {sent.value && (sent.value.status === "sent" ? `Sent as ${sent.value.message_id}.` : "No answer came in time. It may have been sent all the same.")}
          </span>
          <Button kind="main" isSubmit isDisabled={sending.isRunning}>
            {sending.isRunning ? "Sending …" : "Send"}
          </Button>
        </div>
      </form>
    </section>
  );
}
