import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { call } from "../lib/api";
import { useAction, useLive } from "../lib/live";
import { linkTo } from "../lib/route";
import type { Attempt, WebhookEvent } from "../lib/types";
import { can } from "../lib/who";
import { EVENT_STATUS, outcomeWords, stamp } from "../lib/words";
import { Beyond, Button, Copy, Empty, Facts, Loading, Pill, Problem, Time } from "../parts/basics";
import { Title } from "../parts/frame";

export function EventScreen({ id }: { id: string }): JSX.Element {
  const { data: event, error, refresh } = useLive<WebhookEvent>(`/api/webhooks/events/${encodeURIComponent(id)}`, 1500);
  const retrying = useAction();
  if (!event) {
    return (
      <>
        <Title text="Delivery" back={["Webhooks", "#/webhooks"]} />
        {error?.status === 404 ? (
          <Empty title="Not on record yet">
            <p role="status">It shows up here once its first attempt has ended, most often within a second. If it does not, the link may be wrong.</p>
          </Empty>
        ) : error ? (
          <Problem error={error} />
        ) : (
          <Loading what="the delivery" />
        )}
      </>
    );
  }
  const status = EVENT_STATUS[event.status];
  const retry = (): void => {
    retrying.run(async () => {
      await call("POST", `/api/webhooks/events/${encodeURIComponent(id)}/retry`);
      refresh();
    });
  };
  return (
    <>
      <Title text={event.message_type === "test" ? "Test message" : `Delivery: ${event.message_type}`} back={["Webhook", linkTo(["webhooks", event.webhook_id])]}>
        {can("events:write") && (
          <Button kind={event.status === "failed" ? "main" : "plain"} isDisabled={retrying.isRunning} onClick={retry}>
            {event.status === "delivered" ? "Send again" : "Try again now"}
          </Button>
        )}
      </Title>
      <Problem error={retrying.error ?? error} />
      <p class="lead">
        <Pill tone={status?.tone ?? "calm"}>{status?.word ?? event.status}</Pill>{" "}
        {event.next_retry_at && event.status !== "delivered" && (
          <span>
            Next try <Time at={event.next_retry_at} />
          </span>
        )}
        {event.delivered_at && (
          <span>
            Delivered <Time at={event.delivered_at} />
          </span>
        )}
      </p>
      <Facts
        rows={[
          ["Published", stamp(event.created_at)],
          ["From", event.from ?? "–"],
          ["To", event.to ?? "–"],
          ["Message id", <Copy key="m" text={event.message_id} label="the message id" />],
          ["Header webhook-id", <Copy key="h" text={event.webhook_id_header} label="the header" />],
        ]}
      />
      <section class="card">
        <h2>Attempts</h2>
        <Attempts attempts={event.attempts ?? []} />
      </section>
      <Message event={event} />
    </>
  );
}

/** What somebody wrote is shown only when asked for. */
function Message({ event }: { event: WebhookEvent }): JSX.Element {
  const isShown = useSignal(false);
  return (
    <section class="card">
      <h2>Message</h2>
      {isShown.value ? (
        <>
          {event.content ? <p class="message">{event.content}</p> : <p class="faint">It has no text.</p>}
          {event.payload !== undefined && event.payload !== null && (
            <>
              <h3>The body as it is sent</h3>
              <pre tabIndex={0}>{JSON.stringify(event.payload, null, 2)}</pre>
            </>
          )}
          <Button onClick={() => (isShown.value = false)}>Hide it</Button>
        </>
      ) : (
        <p class="row">
          <span class="faint">Hidden, since it is what somebody wrote.</span>
          <Button onClick={() => (isShown.value = true)}>Show the message</Button>
        </p>
      )}
    </section>
  );
}

function Attempts({ attempts }: { attempts: Attempt[] }): JSX.Element {
  if (attempts.length === 0) return <p class="faint">None yet.</p>;
  return (
    <ol class="timeline">
      {attempts.toReversed().map((attempt) => {
        const status = EVENT_STATUS[attempt.status];
        return (
          <li key={`${attempt.number} ${attempt.started_at}`} class={status?.tone ?? "calm"}>
            <p class="row">
              <strong>{attempt.number === 0 ? "Held" : `Attempt ${attempt.number}`}</strong>
              {attempt.http_status !== null && <span class="status">HTTP {attempt.http_status}</span>}
              <span class="faint">
                {stamp(attempt.started_at)}
                {attempt.number > 0 && ` · ${attempt.latency_ms} ms`}
              </span>
            </p>
            <p>{outcomeWords(attempt)}</p>
            {attempt.outcome !== "ok" && <Beyond error={attempt.error} status={attempt.http_status} />}
            {attempt.response && (
              <details>
                <summary>What the endpoint answered</summary>
                <pre tabIndex={0}>{attempt.response}</pre>
              </details>
            )}
            {attempt.next_retry_at && (
              <p class="faint">
                Then again <Time at={attempt.next_retry_at} />
              </p>
            )}
          </li>
        );
      })}
    </ol>
  );
}
