import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { ApiError, call, send } from "../lib/api";
import { now, useAction, useLive, type Live } from "../lib/live";
import { goTo, linkTo } from "../lib/route";
import type { Session } from "../lib/types";
import { can } from "../lib/who";
import { needsRestart, phone, sessionState } from "../lib/words";
import { Button, Copy, Dialog, Facts, Field, Loading, Pill, Problem, Time } from "../parts/basics";
import { Title } from "../parts/frame";
import { SendText } from "./send-text";

const SESSIONS: [string, string] = ["Sessions", "#/sessions"];

export function SessionScreen({ id }: { id: string }): JSX.Element {
  const live = useLive<Session>(`/api/sessions/${encodeURIComponent(id)}`, 1000);
  const session = live.data;
  if (!session) {
    return (
      <>
        <Title text="Session" back={SESSIONS} />
        {live.error ? <Problem error={live.error} /> : <Loading what="the session" />}
      </>
    );
  }
  const { word, tone, help } = sessionState(session.state);
  return (
    <>
      <Title text={session.phone_number ? phone(session.phone_number) : "New session"} back={SESSIONS}>
        {can("sessions:write") && <Actions session={session} live={live} />}
      </Title>
      <p class="lead" role="status">
        <Pill tone={tone}>{word}</Pill> {session.state === "pairing" ? "" : help}
      </p>
      {session.reason && <p class={`notice ${tone}`}>{session.reason}</p>}
      {session.state === "pairing" && <Pairing session={session} live={live} />}
      {session.state === "connected" && <Next session={session} />}
      <Facts
        rows={[
          ["Linked by", session.method === "qr" ? "QR code" : "pair code"],
          ["Own messages", session.own_messages ? "published, too" : "not published"],
          ["Last message", <Time key="m" at={session.last_message_at} none="none yet" />],
          ["State since", <Time key="u" at={session.updated_at} />],
          ["Id", <Copy key="i" text={session.id} label="the id" />],
        ]}
      />
      {session.state === "connected" && can("messages:send") && <SendText session={session} />}
    </>
  );
}

function Next({ session }: { session: Session }): JSX.Element | null {
  if (session.last_message_at || !can("webhooks:write")) return null;
  return (
    <p class="notice good">
      The phone is linked. Next: <a href={linkTo(["webhooks"], { new: "1" })}>register a webhook</a> for {phone(session.phone_number)}, and write to it.
    </p>
  );
}

function Actions({ session, live }: { session: Session; live: Live<Session> }): JSX.Element {
  const isAsking = useSignal(false);
  const restarting = useAction();
  const restart = (): void => {
    restarting.run(async () => {
      await call("POST", `/api/sessions/${session.id}/restart`);
      live.refresh();
    });
  };
  return (
    <>
      <Button kind={needsRestart(session) ? "main" : "plain"} isDisabled={restarting.isRunning} onClick={restart}>
        {restarting.isRunning ? "Restarting …" : "Restart"}
      </Button>
      <Button kind="danger" onClick={() => (isAsking.value = true)}>
        Log out …
      </Button>
      <Problem error={restarting.error} />
      {isAsking.value && <LogOut session={session} onClose={() => (isAsking.value = false)} />}
    </>
  );
}

function LogOut({ session, onClose }: { session: Session; onClose: () => void }): JSX.Element {
  const leaving = useAction();
  const leave = (): void => {
    leaving.run(async () => {
      await send("DELETE", `/api/sessions/${session.id}`);
      goTo("#/sessions");
    });
  };
  return (
    <Dialog title="Log the session out" onClose={onClose}>
      <p>The device is unlinked, its keys are erased, and the session disappears. To go on later the phone has to be linked again.</p>
      <Problem error={leaving.error} />
      <div class="buttons">
        <Button onClick={onClose}>Keep it</Button>
        <Button kind="danger" isDisabled={leaving.isRunning} onClick={leave}>
          {leaving.isRunning ? "Logging out …" : "Log out"}
        </Button>
      </div>
    </Dialog>
  );
}

function Pairing({ session, live }: { session: Session; live: Live<Session> }): JSX.Element {
  if (!can("sessions:write")) return <p class="faint">This token may not link phones: it lacks the scope sessions:write.</p>;
  return (
    <section class="card pairing">
      {session.method === "qr" ? <QrCode session={session} /> : <PairCode session={session} />}
      {session.method === "qr" && <OtherWay session={session} live={live} />}
    </section>
  );
}

/** The seconds until a time. */
function left(until: string | null): number {
  return until ? Math.max(0, Math.ceil((Date.parse(until) - now.value) / 1000)) : 0;
}

/** The picture renews itself: a new code has another end. */
function QrCode({ session }: { session: Session }): JSX.Element {
  const picture = useSignal<string | undefined>(undefined);
  const error = useSignal<ApiError | undefined>(undefined);
  const { id, code_expires_at: end } = session;
  useEffect(() => {
    if (end === null) {
      picture.value = undefined;
      return undefined;
    }
    const stop = new AbortController();
    let address: string | undefined;
    const load = async (): Promise<void> => {
      const answer = await send("GET", `/api/sessions/${id}/qr?format=svg`, { signal: stop.signal });
      const blob = await answer.blob();
      if (stop.signal.aborted) return;
      address = URL.createObjectURL(blob);
      picture.value = address;
      error.value = undefined;
    };
    load().catch((reason: unknown) => {
      if (reason instanceof ApiError && !stop.signal.aborted) error.value = reason;
    });
    return () => {
      stop.abort();
      if (address) URL.revokeObjectURL(address);
    };
  }, [id, end, picture, error]);
  const seconds = left(end);
  const isSpent = end === null && session.reason !== null;
  return (
    <>
      <ol class="steps">
        <li>Open WhatsApp on the phone.</li>
        <li>
          Tap <strong>Linked devices</strong>, then <strong>Link a device</strong>.
        </li>
        <li>Point the phone at this code.</li>
      </ol>
      <div class="qr">
        {picture.value && end !== null ? (
          <img src={picture.value} alt="QR code that links the phone" width={264} height={264} />
        ) : (
          <p role="status">{isSpent ? "The codes are used up. Restart for new ones." : "Asking WhatsApp for a code …"}</p>
        )}
      </div>
      {picture.value && end !== null && (
        <p class="faint">{seconds > 0 ? `Renews itself in ${seconds} s` : "Renewing …"}. Anybody who sees the code can link the account.</p>
      )}
      <Problem error={error.value} />
    </>
  );
}

interface Code {
  code: string;
  expires_at: string;
}

function PairCode({ session }: { session: Session }): JSX.Element {
  const code = useSignal<Code | undefined>(undefined);
  const asking = useAction();
  const ask = (): void => {
    asking.run(async () => {
      code.value = await call<Code>("POST", `/api/sessions/${session.id}/pair-code`, { body: {} });
    });
  };
  const seconds = left(code.value?.expires_at ?? null);
  // Once for each session: a code that waits already is given again.
  // eslint-disable-next-line react-hooks/exhaustive-deps
  useEffect(ask, [session.id]);
  const text = code.value?.code.replace(/^(.{4})(.{4})$/, "$1-$2");
  return (
    <>
      <ol class="steps">
        <li>
          On the phone with {phone(session.phone_number)}, open <strong>Linked devices</strong>, then <strong>Link a device</strong>.
        </li>
        <li>
          Tap <strong>Link with phone number instead</strong>, and type this code.
        </li>
      </ol>
      <p class="pair-code" role="status">
        {seconds > 0 && text ? text : asking.isRunning ? "Asking WhatsApp for a code …" : "No code"}
      </p>
      {seconds > 0 ? (
        <p class="faint">Valid for {seconds} s. Anybody who has the code can link the account.</p>
      ) : (
        !asking.isRunning && <Button onClick={ask}>Ask for a new code</Button>
      )}
      <Problem error={asking.error} />
    </>
  );
}

function OtherWay({ session, live }: { session: Session; live: Live<Session> }): JSX.Element {
  const number = useSignal(session.phone_number ? `+${session.phone_number}` : "");
  const asking = useAction();
  const submit = (event: Event): void => {
    event.preventDefault();
    asking.run(async () => {
      const body = { phone_number: number.value.replace(/[\s+()/-]/g, "") };
      await call("POST", `/api/sessions/${session.id}/pair-code`, { body });
      live.refresh();
    });
  };
  return (
    <details>
      <summary>The phone cannot scan? Use a code to type</summary>
      <form class="inline" onSubmit={submit}>
        <Field label="The phone's number">
          {(props) => <input {...props} type="tel" required value={number.value} onInput={(event) => (number.value = event.currentTarget.value)} />}
        </Field>
        <Button isSubmit isDisabled={asking.isRunning}>
          {asking.isRunning ? "Asking …" : "Get a code"}
        </Button>
      </form>
      <Problem error={asking.error} />
    </details>
  );
}
