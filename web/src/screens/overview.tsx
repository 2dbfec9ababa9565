import type { ComponentChildren, JSX } from "preact";

import { useLive } from "../lib/live";
import { linkTo } from "../lib/route";
import type { DeadLetter, Page, Session, Usage, Webhook } from "../lib/types";
import { can } from "../lib/who";
import { bytes, figure, needsRestart, phone, sessionState, WEBHOOK_STATUS, webhookReason, type Tone } from "../lib/words";
import { Loading, Meter, Pill, Problem, Time } from "../parts/basics";
import { Title } from "../parts/frame";

const EVERY_MS = 5000;

export function Overview(): JSX.Element {
  const webhooks = useLive<Page<Webhook>>(can("webhooks:read") ? "/api/webhooks/list?limit=250" : undefined, EVERY_MS);
  const sessions = useLive<Page<Session>>(can("sessions:read") ? "/api/sessions?limit=250" : undefined, EVERY_MS);
  const dead = useLive<Page<DeadLetter>>(can("events:read") ? "/api/dead-letters?limit=5" : undefined, EVERY_MS);
  const usage = useLive<Usage>(can("webhooks:read") ? "/api/usage" : undefined, EVERY_MS);
  const isLoading =
    (can("webhooks:read") && !webhooks.data && !webhooks.error) || (can("sessions:read") && !sessions.data && !sessions.error);
  const error = webhooks.error ?? sessions.error ?? dead.error ?? usage.error;
  return (
    <>
      <Title text="Overview" />
      <Problem error={error} />
      {isLoading ? (
        <Loading what="the overview" />
      ) : (
        <>
          <Begin webhooks={webhooks.data} sessions={sessions.data} />
          <Needs webhooks={webhooks.data?.data ?? []} sessions={sessions.data?.data ?? []} />
          <div class="cards">
            <WebhooksCard page={webhooks.data} />
            <SessionsCard page={sessions.data} />
            <UsageCard usage={usage.data} />
          </div>
          <Newest page={dead.data} />
        </>
      )}
    </>
  );
}

/** The next step, for somebody who has nothing yet. */
function Begin({ webhooks, sessions }: { webhooks: Page<Webhook> | undefined; sessions: Page<Session> | undefined }): JSX.Element | null {
  const isLinked = sessions?.data.some((session) => session.state === "connected") ?? false;
  const hasWebhook = (webhooks?.data.length ?? 0) > 0;
  const isTried = webhooks?.data.some((webhook) => webhook.last_attempt_at !== null) ?? false;
  if (!webhooks || (hasWebhook && isTried)) return null;
  const step = (isDone: boolean, children: ComponentChildren): JSX.Element => (
    <li class={isDone ? "done" : ""}>
      <span aria-hidden="true">{isDone ? "✓" : ""}</span>
      <div>
        {children}
        {isDone && <span class="hidden"> (done)</span>}
      </div>
    </li>
  );
  const first = webhooks.data[0];
  return (
    <section class="card begin">
      <h2>Three steps to the first delivery</h2>
      <ol>
        {sessions &&
          step(
            isLinked,
            <>
              <a href={linkTo(["sessions"], { new: "1" })}>Link a phone</a> with a QR code, as with WhatsApp Web. Or publish messages from your own
              gateway.
            </>,
          )}
        {step(
          hasWebhook,
          <>
            <a href={linkTo(["webhooks"], { new: "1" })}>Register a webhook</a>: the address that gets the messages of a number.
          </>,
        )}
        {step(
          isTried,
          <>
            {first ? <a href={linkTo(["webhooks", first.id])}>Send a test</a> : "Send a test"}, or write to the linked number, and see it arrive.
          </>,
        )}
      </ol>
    </section>
  );
}

interface Need {
  key: string;
  href: string;
  tone: Tone;
  word: string;
  what: string;
  why: string;
}

function needs(webhooks: Webhook[], sessions: Session[]): Need[] {
  const ofSessions = sessions
    .filter((session) => session.state !== "connected" && (needsRestart(session) || session.state === "pairing"))
    .map((session) => {
      const { word, tone, help } = sessionState(session.state);
      const what = session.phone_number ? phone(session.phone_number) : "Session without a number";
      return { key: session.id, href: linkTo(["sessions", session.id]), tone, word, what, why: help };
    });
  const ofWebhooks = webhooks
    .filter((webhook) => webhook.status !== "active")
    .map((webhook) => {
      const { word, tone } = WEBHOOK_STATUS[webhook.status];
      const href = linkTo(["webhooks", webhook.id]);
      return { key: webhook.id, href, tone, word, what: phone(webhook.phone_number), why: webhookReason(webhook) };
    });
  return [...ofSessions, ...ofWebhooks];
}

const NEEDS_MAX = 8;

function Needs({ webhooks, sessions }: { webhooks: Webhook[]; sessions: Session[] }): JSX.Element | null {
  const all = needs(webhooks, sessions);
  if (webhooks.length + sessions.length === 0) return null;
  return (
    <section class="card">
      <h2>What needs you</h2>
      {all.length === 0 && <p class="calm-line">Nothing: every session is connected and every webhook takes deliveries.</p>}
      <ul class="needs">
        {all.slice(0, NEEDS_MAX).map((need) => (
          <li key={need.key}>
            <Pill tone={need.tone}>{need.word}</Pill>
            <a href={need.href}>{need.what}</a>
            <span class="why">{need.why}</span>
          </li>
        ))}
      </ul>
      {all.length > NEEDS_MAX && (
        <p>
          And {figure(all.length - NEEDS_MAX)} more: see <a href="#/webhooks">webhooks</a> and <a href="#/sessions">sessions</a>.
        </p>
      )}
    </section>
  );
}

function counts<K extends string>(keys: K[]): [K, number][] {
  const found = new Map<K, number>();
  for (const key of keys) found.set(key, (found.get(key) ?? 0) + 1);
  return [...found];
}

function newest(times: (string | null)[]): string | null {
  return times.map((at) => at ?? "").reduce((a, b) => (a > b ? a : b), "") || null;
}

/** How many there are, as far as the first page tells. */
function Count({ page }: { page: Page<unknown> }): JSX.Element {
  return (
    <p class="big">
      {figure(page.data.length)}
      {page.has_more && "+"}
    </p>
  );
}

function WebhooksCard({ page }: { page: Page<Webhook> | undefined }): JSX.Element | null {
  if (!page) return null;
  const held = page.data.reduce((sum, webhook) => sum + (webhook.held_count ?? 0), 0);
  return (
    <section class="card">
      <h2>
        <a href="#/webhooks">Webhooks</a>
      </h2>
      <Count page={page} />
      <p class="pills">
        {counts(page.data.map((webhook) => webhook.status)).map(([status, number]) => (
          <a key={status} href={linkTo(["webhooks"], { status })}>
            <Pill tone={WEBHOOK_STATUS[status].tone}>
              {figure(number)} {WEBHOOK_STATUS[status].word.toLowerCase()}
            </Pill>
          </a>
        ))}
      </p>
      <p class="faint">
        Last success: <Time at={newest(page.data.map((webhook) => webhook.last_success_at))} none="none yet" />
        {held > 0 && ` · ${figure(held)} held`}
      </p>
    </section>
  );
}

function SessionsCard({ page }: { page: Page<Session> | undefined }): JSX.Element | null {
  if (!page) return null;
  return (
    <section class="card">
      <h2>
        <a href="#/sessions">Sessions</a>
      </h2>
      <Count page={page} />
      <p class="pills">
        {counts(page.data.map((session) => session.state)).map(([state, number]) => (
          <Pill key={state} tone={sessionState(state).tone}>
            {figure(number)} {sessionState(state).word.toLowerCase()}
          </Pill>
        ))}
      </p>
      <p class="faint">
        Last message: <Time at={newest(page.data.map((session) => session.last_message_at))} none="none yet" />
      </p>
    </section>
  );
}

function UsageCard({ usage }: { usage: Usage | undefined }): JSX.Element | null {
  if (!usage) return null;
  const { waiting_bytes: waiting, dead_letter_bytes: dead } = usage;
  return (
    <section class="card">
      <h2>
        <a href="#/usage">Usage</a>
      </h2>
      <Meter label="Waiting" used={waiting.used} max={waiting.max} words={`${bytes(waiting.used)} of ${bytes(waiting.max)}`} />
      <Meter label="Dead letters" used={dead.used} max={dead.max} words={`${bytes(dead.used)} of ${bytes(dead.max)}`} />
    </section>
  );
}

function Newest({ page }: { page: Page<DeadLetter> | undefined }): JSX.Element | null {
  if (!page || page.data.length === 0) return null;
  return (
    <section class="card">
      <h2>
        <a href="#/dead-letters">Newest dead letters</a>
      </h2>
      <ul class="needs">
        {page.data.map((letter) => (
          <li key={letter.id}>
            <Time at={letter.given_up_at} />
            <a href={linkTo(["events", letter.id])}>
              {letter.message_type} from {letter.from ?? "unknown"}
            </a>
            <span class="why">{letter.reason}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
