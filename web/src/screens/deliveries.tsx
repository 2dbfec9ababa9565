import type { JSX } from "preact";

import { linkTo, setQuery } from "../lib/route";
import type { Webhook, WebhookEvent } from "../lib/types";
import { can } from "../lib/who";
import { EVENT_STATUS } from "../lib/words";
import { Beyond, Button, Empty, Loading, Pill, Problem, Time } from "../parts/basics";
import { chosen, Select, When } from "../parts/filters";
import { More, useList } from "../parts/list";

export function Deliveries({ webhook }: { webhook: Webhook }): JSX.Element {
  const filters = chosen(["status", "since", "until"]);
  const path = can("events:read") ? `/api/webhooks/${webhook.id}/events` : undefined;
  const list = useList<WebhookEvent>(path, filters, 2000);
  const isFiltered = Object.values(filters).some(Boolean);
  if (path === undefined) return <p class="faint">This token may not read deliveries: it lacks the scope events:read.</p>;
  return (
    <>
      <div class="filters">
        <Select
          name="status"
          label="Result"
          options={[
            ["", "Any"],
            ["delivered", "Delivered"],
            ["pending", "Waiting"],
            ["sent", "No answer"],
            ["failed", "Given up"],
          ]}
        />
        <When name="since" label="From" />
        <When name="until" label="Until" />
        {isFiltered && <Button onClick={() => setQuery({ status: undefined, since: undefined, until: undefined })}>Clear</Button>}
      </div>
      {!list.items && (list.error ? <Problem error={list.error} /> : <Loading what="deliveries" />)}
      {list.items?.length === 0 &&
        (isFiltered ? (
          <Empty title="Nothing fits" />
        ) : (
          <Empty title="Nothing was delivered yet">
            <p>Send a test, or write to the number. It shows up here within a second or so.</p>
          </Empty>
        ))}
      {list.items && list.items.length > 0 && <Events events={list.items} />}
      <More list={list} />
    </>
  );
}

function Events({ events }: { events: WebhookEvent[] }): JSX.Element {
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col">When</th>
          <th scope="col">Message</th>
          <th scope="col">Result</th>
          <th scope="col">Answer</th>
          <th scope="col" class="right">
            Attempts
          </th>
        </tr>
      </thead>
      <tbody>
        {events.map((event) => (
          <tr key={event.id}>
            <td data-label="When">
              <Time at={event.created_at} />
            </td>
            <td data-label="Message">
              <a href={linkTo(["events", event.id])}>
                {event.message_type}
                {event.from ? ` from ${event.from}` : ""}
              </a>
            </td>
            <td data-label="Result">
              <Pill tone={EVENT_STATUS[event.status]?.tone ?? "calm"}>{EVENT_STATUS[event.status]?.word ?? event.status}</Pill>
            </td>
            <td data-label="Answer" class="answer">
              {event.http_status !== null && <span class="status">{event.http_status}</span>}
              <Beyond error={event.error} status={event.http_status} />
              {event.next_retry_at && event.status === "pending" && (
                <span class="faint">
                  next try <Time at={event.next_retry_at} />
                </span>
              )}
            </td>
            <td data-label="Attempts" class="right">
              {event.attempt_count}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
