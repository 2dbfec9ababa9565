import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { call } from "../lib/api";
import { useAction } from "../lib/live";
import { goTo, linkTo, place, setQuery } from "../lib/route";
import type { Session } from "../lib/types";
import { can } from "../lib/who";
import { phone, sessionState } from "../lib/words";
import { Button, Dialog, Empty, Field, Loading, Pill, Problem, Time } from "../parts/basics";
import { Title } from "../parts/frame";
import { More, useList } from "../parts/list";
import { isOf, wrong } from "./register";

export function Sessions(): JSX.Element {
  const list = useList<Session>("/api/sessions", {}, 3000);
  return (
    <>
      <Title text="Sessions">
        {can("sessions:write") && (
          <Button kind="main" onClick={() => setQuery({ new: "1" })}>
            Link a phone
          </Button>
        )}
      </Title>
      {!list.items && (list.error ? <Problem error={list.error} /> : <Loading what="sessions" />)}
      {list.items?.length === 0 && (
        <Empty title="No phone is linked">
          <p>A session is a linked device of a WhatsApp account, like WhatsApp Web. Link a phone, and its messages go to the webhook of its number.</p>
        </Empty>
      )}
      {list.items && list.items.length > 0 && <Table sessions={list.items} />}
      <More list={list} />
      {place.value.query.get("new") && can("sessions:write") && <Link onClose={() => setQuery({ new: undefined })} />}
    </>
  );
}

function Table({ sessions }: { sessions: Session[] }): JSX.Element {
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col">Number</th>
          <th scope="col">State</th>
          <th scope="col">What to do</th>
          <th scope="col">Last message</th>
        </tr>
      </thead>
      <tbody>
        {sessions.map((session) => {
          const { word, tone, help } = sessionState(session.state);
          return (
            <tr key={session.id}>
              <td data-label="Number">
                <a href={linkTo(["sessions", session.id])}>{session.phone_number ? phone(session.phone_number) : "not linked yet"}</a>
              </td>
              <td data-label="State">
                <Pill tone={tone}>{word}</Pill>
              </td>
              <td data-label="What to do">
                <span>{help || "–"}</span>
              </td>
              <td data-label="Last message">
                <Time at={session.last_message_at} none="none yet" />
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Link({ onClose }: { onClose: () => void }): JSX.Element {
  const method = useSignal<"qr" | "code">("qr");
  const number = useSignal("");
  const isOwn = useSignal(false);
  const creating = useAction();
  const submit = (event: Event): void => {
    event.preventDefault();
    creating.run(async () => {
      const digits = number.value.replace(/[\s+()/-]/g, "");
      const body = { method: method.value, own_messages: isOwn.value, ...(digits ? { phone_number: digits } : {}) };
      const session = await call<Session>("POST", "/api/sessions", { body });
      goTo(linkTo(["sessions", session.id]));
    });
  };
  const choice = (value: "qr" | "code", words: string): JSX.Element => (
    <label class="check">
      <input type="radio" name="method" checked={method.value === value} onChange={() => (method.value = value)} />
      {words}
    </label>
  );
  return (
    <Dialog title="Link a phone" onClose={onClose}>
      <form onSubmit={submit}>
        <p class="notice warn">
          WhatsApp does not allow unofficial clients and may ban accounts that use them. Take a number that you can afford to lose.
        </p>
        <fieldset>
          <legend>How</legend>
          {choice("qr", "Scan a QR code with the phone")}
          {choice("code", "Type a code on the phone")}
        </fieldset>
        <Field
          label="Phone number"
          hint={method.value === "code" ? "Needed for a code: the phone's own number." : "If given, no other phone can be linked."}
          error={wrong(creating.error, "phone_number")}
        >
          {(props) => (
            <input
              {...props}
              type="tel"
              required={method.value === "code"}
              placeholder="+49 151 12345678"
              value={number.value}
              onInput={(event) => (number.value = event.currentTarget.value)}
            />
          )}
        </Field>
        <label class="check">
          <input type="checkbox" checked={isOwn.value} onChange={(event) => (isOwn.value = event.currentTarget.checked)} />
          Also publish what the account itself sends
        </label>
        {!isOf(creating.error, ["phone_number"]) && <Problem error={creating.error} />}
        <div class="buttons">
          <Button kind="main" isSubmit isDisabled={creating.isRunning}>
            {creating.isRunning ? "Asking …" : "Go on"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
